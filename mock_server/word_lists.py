"""Word lists for names, titles, albums and e-mail addresses."""

_FIRST_NAMES_TEXT = """
    Aaron Abigail Adam Alan Alice Amanda Amber Amy Andrea Andrew Angela Anna Anthony Arthur Ashley Austin
    Barbara Benjamin Beth Beverly Brandon Brenda Brian Brittany Bruce Caitlin Calvin Candace Carl Carol Caroline
    Catherine Charles Cheryl Christina Christopher Cindy Claire Craig Crystal Curtis Cynthia Daniel David Deborah
    Dennis Diana Donald Donna Doris Dorothy Douglas Dylan Edward Elaine Elizabeth Emily Emma Eric Erin Ethan Evan
    Frances Frank Gabriel Gary George Gina Gloria Grace Gregory Hannah Harold Heather Helen Henry Holly Ian Isabel
    Jack Jacob Jacqueline James Janet Jason Javier Jeffrey Jennifer Jeremy Jessica Joan Joel Jonathan Jordan Jose
    Joshua Judith Julia Karen Katherine Kayla Keith Kelly Kenneth Kevin Kimberly Kyle Larry Laura Lauren Linda Lisa
    Logan Louis Lucas Lynn Madison Margaret Maria Mark Martha Martin Mary Matthew Megan Melissa Michael Miguel
    Molly Monica Nancy Natalie Nathan Nicholas Nicole Noah Norma Olivia Oscar Pamela Patrick Paul Peter Philip
    Rachel Ralph Randall Raymond Rebecca Richard Robert Robin Roger Ronald Rosa Russell Ruth Ryan Samantha Samuel
    Sandra Sarah Scott Sean Shannon Sharon Shawn Sheila Sierra Sophia Stacy Stephanie Stephen Steven Susan Tamara
    Tara Taylor Teresa Terry Theresa Thomas Timothy Todd Tracy Tyler Valerie Vanessa Veronica Victor Victoria
    Vincent Virginia Walter Wanda Wayne Wendy William Xavier Yolanda Yvonne Zachary
"""

_LAST_NAMES_TEXT = """
    Abbott Adams Alexander Ali Allen Anderson Arroyo Bailey Baker Barker Barnes Bell Bennett Berry Boyd Bradley
    Brewer Brooks Brown Bryant Burke Burns Butler Calhoun Campbell Campos Carr Carroll Carter Castillo Chang Chavez
    Cherry Clark Clarke Clay Cobb Coleman Collins Contreras Cook Cooper Copeland Cox Crawford Cruz Davidson Davies
    Davis Day Diaz Dixon Dyer Edwards Ellis Evans Ferguson Fernandez Fisher Flores Ford Foster Fox Fritz Fry Garcia
    Gardner Gibbs Gibson Gomez Gonzalez Gordon Graham Grant Gray Green Greene Griffin Hall Hamilton Hansen Harris
    Harrison Hartman Hawkins Hayes Haynes Hebert Henderson Henry Hernandez Hicks Hill Hoffman Howard Hughes Hunt
    Hunter Jackson James Jefferson Jenkins Jimenez Johnson Jones Jordan Kelley Kelly Kennedy Kim King Knight Lee
    Lewis Long Lopez Lynn Maldonado Malone Mann Marshall Martin Martinez Mason Mays McDonald Mckenzie Mclaughlin Meza
    Miller Mitchell Montgomery Moore Morales Morgan Morris Morrison Murphy Murray Myers Nash Nelson Nguyen Nicholson
    Olson Ortiz Owens Palmer Parker Patel Patterson Perez Perry Peterson Phillips Porter Potter Powell Price Ramirez
    Ramos Reed Reyes Reynolds Rice Richardson Rivera Roberts Robertson Robinson Rodriguez Rogers Rosales Ross Ruiz
    Russell Ryan Sanchez Sanders Savage Schneider Scott Shaw Sherman Short Simmons Simpson Smith Snyder Sosa Sparks
    Spencer Stevens Stewart Stone Sullivan Summers Tapia Taylor Thomas Thompson Torres Tucker Turner Vasquez Wagner
    Walker Wallace Walton Ward Warren Washington Watkins Watson Weaver Webb Wells West White Williams Wilson Wood
    Woods Wright Young
"""

_WORDS_TEXT = """
    ability above action address again agency air allow amount animal answer area army arrive artist attack author
    avoid baby bank bar beat bed behind believe benefit beyond billion bit blood blue board body book born box break
    bring brother budget build building business call camera campaign candidate capital car card care career carry
    case catch cause center century chair chance character charge child choice church citizen city claim clear coach
    cold collection color common community concern condition congress consider contain control corner cost couple
    course court cover crime culture cup current customer dark daughter day deal death decade decision defense degree
    design develop dinner direction discuss dog door dream drive drug early east economy edge effect effort eight
    election employee energy enjoy enough environment evening event evidence exist experience eye face fact fall
    family far father fear federal field fight figure film final finger fire fish floor fly follow food foot force
    foreign forget form forward free friend front future game garden gas general girl glass goal good government great
    ground group growth guess gun hair half hand happen hard heart heat heavy hear history hold home hope hospital hot
    hour house human hundred husband idea image imagine impact improve inside interest interview investment issue item
    join keep key kitchen knowledge land language large laugh law lay lead leader learn least leave leg letter level
    life light likely line listen little local long look loss low machine magazine major manage many market material
    matter measure media meeting memory message method middle military mind minute mission model modern moment money
    month morning mother mouth movement movie music name nation nature network never news night none north note notice
    number offer office officer oil open operation option order others outside owner page pain paper parent part party
    pass past patient pattern peace people perhaps person phone picture piece place plan plant player point policy
    popular position power practice prepare present pressure price process produce program property prove public
    pull purpose quality question quickly quite race radio raise range rate reach ready reality reason receive record
    red region relate remember report require resource rest result rich rise risk road rock role room rule run scene
    school science score sea season seat second section seem sell series serious service seven shake share shoot
    shot show side sign simply sing sister site six skill skin small social society soldier song sort sound source
    south space speak special speech spend sport spring staff stage stand star state station stay step stock store
    story strategy street strong student study stuff style subject success summer support sure surface system table
    talk task teach team television ten tend term test thank theory thing thought thousand threat throw today together
    tonight top total tough toward town trade training travel treat tree trial trip trouble truth under unit usually
    value victim view visit voice vote wait walk wall war watch water weapon wear week weight west wide wife wind
    window wish within without woman wonder word work worker world worry write wrong yard yeah year yes you
"""

GENRES = (
    "Rock", "Pop", "Hip Hop", "R&B", "Country", "Electronic", "Jazz", "Blues", "Classical",
    "Reggae", "Metal", "Folk", "Punk", "Indie", "Techno", "Funk", "Alternative",
)  # fmt: skip

GENDERS = (
    "Female", "Male", "Non-binary", "Agender", "Bigender", "Genderfluid",
    "Genderqueer", "Gender nonconforming", "Gender questioning",
)  # fmt: skip

FIRST_NAMES = tuple(_FIRST_NAMES_TEXT.split())
LAST_NAMES = tuple(_LAST_NAMES_TEXT.split())
WORDS = tuple(_WORDS_TEXT.split())

MAIL_DOMAINS = ("example.com", "example.org", "example.net")
