// Google's fake of Pub/Sub on a free port. Prints its address, and ends when its standard input is closed.
package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"cloud.google.com/go/pubsub/pstest"
)

func main() {
	pstest.SetMinAckDeadline(time.Second) // Pub/Sub's own minimum is 10 seconds
	fmt.Println(pstest.NewServer().Addr)
	io.Copy(io.Discard, os.Stdin)
}
