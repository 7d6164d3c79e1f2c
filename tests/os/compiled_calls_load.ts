/** Reads, writes, sends and receives so often that all of it is compiled: engine and file are given. */
import { createEpollEngine, createIoUringEngine } from "../../src/os/engine.ts";
import { openDisk } from "../../src/os/files.ts";
import { Slab } from "../../src/os/memory.ts";
import { socketPair } from "../../src/os/sockets.ts";

const ROUNDS = 20_000;
const [name, path] = Deno.args as [string, string];
const engine = name === "epoll" ? createEpollEngine() : createIoUringEngine();
const slab = Slab.allocate(16_384);
const fd = openDisk(path);
const [one, other] = socketPair();
let left = 0;
const done = () => {
  left--;
};
for (let round = 0; round < ROUNDS; round++) {
  engine.write(fd, slab, 0, 4096, 4096, false, 1);
  engine.read(fd, slab, 4096, 4096, 0, 2);
  engine.send(one, slab, 8192, 64, 3);
  engine.sendTwo(one, slab, 8192, 64, slab, 0, 64, 4);
  engine.recvAll(other, slab, 12_288, 192, 5);
  for (left = 5; left > 0;) engine.wait(1000, done);
}
engine.close(one);
engine.close(other);
engine.destroy(1000, () => {});
