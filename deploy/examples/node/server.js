// A dashboard feed as many teams have it: everyone gets every price, and may say something. Knows nothing of crossfade.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const http = createServer((request, response) => response.end('ok\n'));
const sockets = new WebSocketServer({ server: http });
sockets.on('connection', (socket) => {
  socket.send(JSON.stringify({ type: 'welcome' }));
  socket.on('message', (data) => socket.send(data.toString()));
});
let n = 0;
setInterval(() => {
  const price = JSON.stringify({ type: 'price', n: n++ });
  for (const socket of sockets.clients) socket.send(price);
}, 200);
http.listen(Number(process.env.PORT ?? 3000));
process.on('SIGTERM', () => process.exit(0));
