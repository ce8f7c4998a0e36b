// A task in Go: upper-cases standard input, line by line, and says how many lines there were.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func main() {
	lines := 0
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		fmt.Println(strings.ToUpper(input.Text()))
		lines++
	}
	fmt.Fprintf(os.Stderr, "%s: %d lines\n", os.Getenv("NAME"), lines)
	if len(os.Args) > 1 && os.Args[1] == "fail" {
		os.Exit(3)
	}
}
