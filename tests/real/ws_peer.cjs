// A WebSocket peer of Node's ws package. It tells what happens as lines of JSON.
//   node ws_peer.cjs client URL PLAN       node ws_peer.cjs server PLAN
// PLAN is JSON, or @FILE that has it:
//   options   for new WebSocket or new WebSocketServer
//   protocols that a client offers
//   say       what it sends first: {text: …}, {hex: …}, or {random: octets}
//   crumbs    {count, size, pause}: one message in fragments, with pauses (ms) between
//   hear      how many messages it waits for before it closes
//   close     [code, reason] of its close; null to wait for the other side's
//   echo      send back what comes
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const WebSocket = require("ws");

const [role, ...rest] = process.argv.slice(2);
const given = rest[rest.length - 1];
const plan = JSON.parse(given.startsWith("@") ? fs.readFileSync(given.slice(1)) : given);
const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const digest = (data) => crypto.createHash("sha256").update(data).digest("hex");

function message(what) {
  if (what.text !== undefined) return what.text;
  if (what.hex !== undefined) return Buffer.from(what.hex, "hex");
  return what.zeros ? Buffer.alloc(what.zeros) : crypto.randomBytes(what.random);
}

function crumb(socket, { count, size, pause }, number) {
  socket.send(Buffer.alloc(size, number), { binary: true, fin: number === count });
  if (number < count) setTimeout(crumb, pause, socket, { count, size, pause }, number + 1);
}

function talk(socket) {
  let heard = 0;
  const close = () => {
    if (plan.close && heard >= (plan.hear || 0)) socket.close(...plan.close);
  };
  socket.on("message", (data, binary) => {
    heard += 1;
    tell({ event: "message", binary, size: data.length, sha256: digest(data),
           text: data.length > 200 ? null : data.toString() });
    if (plan.echo) socket.send(data, { binary });
    close();
  });
  socket.on("pong", () => tell({ event: "pong" }));
  socket.on("error", (error) => tell({ event: "error", message: error.message }));
  socket.on("close", (code, reason) => {
    tell({ event: "close", code, reason: reason.toString() });
    if (role === "client") process.exit(0);
  });
  for (const what of plan.say || []) {
    const data = message(what);
    tell({ event: "said", sha256: digest(data) });
    socket.send(data);
  }
  if (plan.ping) socket.ping("there?");
  if (plan.crumbs) crumb(socket, plan.crumbs, 1);
  close();
}

if (role === "client") {
  const socket = new WebSocket(rest[0], plan.protocols || [], plan.options || {});
  let headers = {};
  socket.on("upgrade", (response) => { headers = response.headers; });
  socket.on("unexpected-response", (_, response) => {
    tell({ event: "refused", status: response.statusCode });
    process.exit(0);
  });
  socket.on("open", () => {
    tell({ event: "open", protocol: socket.protocol, extensions: socket.extensions,
           headers });
    talk(socket);
  });
} else {
  const options = { host: "127.0.0.1", port: 0, ...plan.options };
  const server = new WebSocket.Server(options);
  server.on("listening", () => tell({ event: "listening", port: server.address().port }));
  server.on("connection", (socket, request) => {
    tell({ event: "open", url: request.url, protocol: socket.protocol,
           extensions: socket.extensions, headers: request.headers });
    talk(socket);
  });
}
