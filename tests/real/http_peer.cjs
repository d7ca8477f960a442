// A server of Node's http (and http2, by prior knowledge): node http_peer.cjs
// It tells its ports, and what is asked of it, as lines of JSON.
"use strict";
const crypto = require("crypto");
const http = require("http");
const http2 = require("http2");

const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");

const answers = {
  "/cut": (request, response) => {
    response.writeHead(200, { "content-length": 100 });
    response.write("half");
    setTimeout(() => (response.stream ? response.stream.close(2) : response.socket.destroy()), 50);
  },
  "/trailers": (request, response) => {
    response.writeHead(200, { trailer: "x-sum" });
    response.write("body");
    response.addTrailers({ "x-sum": "42", "x-got": request.trailers["x-sent"] || "" });
    response.end();
  },
  "/hints": (request, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    response.end("after");
  },
  "/nothing": (request, response) => response.writeHead(204).end(),
  "/never": () => {},
};

function serve(request, response) {
  const digest = crypto.createHash("sha256");
  let size = 0;
  if (request.url === "/early") {
    response.writeHead(403);
    response.end("no need to go on");
    return;
  }
  request.on("error", () => {});
  request.on("data", (data) => { size += data.length; digest.update(data); });
  request.on("aborted", () => tell({ event: "aborted", size }));
  request.on("end", () => {
    const told = { method: request.method, url: request.url, headers: request.headers,
                   version: request.httpVersion, size, sha256: digest.digest("hex") };
    tell({ event: "request", ...told });
    const answer = answers[request.url];
    if (answer) answer(request, response);
    else response.writeHead(200, { "x-up": "1", "set-cookie": ["a=1", "b=2"] })
                 .end(JSON.stringify(told));
  });
}

const one = http.createServer({ keepAliveTimeout: 60000 }, serve);
one.on("connect", (request, socket) => {
  if (request.headers["proxy-authorization"] === "wrong") {
    socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    return;
  }
  socket.write("HTTP/1.1 200 OK\r\n\r\n");
  socket.on("data", (data) => socket.write(request.url + " " + data));
  socket.on("end", () => socket.end());
  socket.on("error", () => {});
});
one.on("connection", () => tell({ event: "connection" }));
const two = http2.createServer(serve);
two.on("session", () => tell({ event: "session" }));
two.on("connect", ({ stream, authority }) => {
  stream.respond({ ":status": 200 });
  stream.on("data", (data) => stream.write(authority + " " + data));
  stream.on("end", () => stream.end());
});
one.listen(0, "127.0.0.1", () => two.listen(0, "127.0.0.1", () =>
  tell({ event: "listening", one: one.address().port, two: two.address().port })));
