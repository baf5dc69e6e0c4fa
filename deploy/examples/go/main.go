// A dashboard feed as many teams have it: everyone gets every price, and may say something. Knows nothing of crossfade.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

var (
	upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	lock     sync.Mutex
	clients  = map[*websocket.Conn]bool{}
)

func send(conn *websocket.Conn, text string) error {
	return conn.WriteMessage(websocket.TextMessage, []byte(text))
}

func session(conn *websocket.Conn) {
	lock.Lock()
	clients[conn] = true
	err := send(conn, `{"type":"welcome"}`)
	lock.Unlock()
	for err == nil {
		var data []byte
		if _, data, err = conn.ReadMessage(); err == nil {
			lock.Lock()
			err = send(conn, string(data))
			lock.Unlock()
		}
	}
	lock.Lock()
	delete(clients, conn)
	lock.Unlock()
	conn.Close()
}

func prices() {
	for n := 0; ; n++ {
		time.Sleep(200 * time.Millisecond)
		lock.Lock()
		for conn := range clients {
			_ = send(conn, fmt.Sprintf(`{"type":"price","n":%d}`, n))
		}
		lock.Unlock()
	}
}

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	go prices()
	log.Fatal(http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !websocket.IsWebSocketUpgrade(r) {
			fmt.Fprintln(w, "ok")
			return
		}
		if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
			session(conn)
		}
	})))
}
