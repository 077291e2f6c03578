"""The command-line tool `moovitamix`. It imports what a command needs only when that command runs."""
