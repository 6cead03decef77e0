// A TCP balancer as one writes it first in Go: round robin, and io.Copy in both directions.
// It has no limits, no health, no time-outs and no log.
//
// Usage: go_balancer LISTEN_ADDRESS BACKEND_ADDRESS...
package main

import (
	"io"
	"log"
	"net"
	"os"
)

// pump copies until the end of one direction and forwards that end; the other one lives on.
func pump(to, from *net.TCPConn, done chan<- struct{}) {
	io.Copy(to, from)
	to.CloseWrite()
	done <- struct{}{}
}

func serve(client *net.TCPConn, backend string) {
	defer client.Close()
	conn, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	defer conn.Close()
	server := conn.(*net.TCPConn)
	done := make(chan struct{}, 2)
	go pump(server, client, done)
	go pump(client, server, done)
	<-done
	<-done
}

func main() {
	backends := os.Args[2:]
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for next := 0; ; next++ {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client.(*net.TCPConn), backends[next%len(backends)])
	}
}
