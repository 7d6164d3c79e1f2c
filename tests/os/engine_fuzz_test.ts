import assert from "node:assert/strict";
import fc from "fast-check";
import { closeDisk, openDisk } from "../../src/os/files.ts";
import { socketPair } from "../../src/os/sockets.ts";
import { ENGINES, Harness, openDescriptors } from "./harness.ts";

const SIZE = 200_000;

/** Operation, which descriptor, and a number to derive lengths from. */
const step = fc.tuple(
  fc.constantFrom("send", "sendTwo", "recv", "recvAll", "poll", "disk", "cancel", "close", "wait"),
  fc.nat(7),
  fc.integer({ min: 1, max: SIZE }),
);

for (const [name, create] of ENGINES) {
  Deno.test(`${name}: whatever is started, canceled and closed, each tag is reported once`, () => {
    const path = Deno.makeTempFileSync();
    const before = openDescriptors();
    const disk = openDisk(path);
    try {
      const property = fc.property(
        fc.array(step, { maxLength: 80 }),
        fc.constantFrom(2, 8, 64),
        (steps, entries) => {
          const h = new Harness(create(entries));
          const sockets: number[] = [];
          try {
            const slab = h.slab(SIZE * 2);
            const { engine } = h;
            for (const [what, which, amount] of steps) {
              while (sockets.length < 8) sockets.push(...socketPair());
              const fd = sockets[which]!;
              if (what === "send") {
                h.start((tag) => engine.send(fd, slab, 0, amount, tag));
              } else if (what === "sendTwo") {
                h.start((tag) => engine.sendTwo(fd, slab, 0, amount % 99, slab, 0, amount, tag));
              } else if (what === "recv") {
                h.start((tag) => engine.recv(fd, slab, SIZE, amount, tag));
              } else if (what === "recvAll") {
                h.start((tag) => engine.recvAll(fd, slab, SIZE, amount, tag));
              } else if (what === "poll") {
                h.start((tag) => engine.pollIn(fd, tag));
              } else if (what === "disk") {
                h.start((tag) => engine.write(disk, slab, 0, amount, which * 4096, false, tag));
                h.start((tag) => engine.read(disk, slab, SIZE, amount, amount, tag));
              } else if (what === "cancel") {
                engine.cancel(fd);
              } else if (what === "close") {
                sockets.splice(which, 1);
                engine.close(fd);
              } else {
                engine.wait(0, h.onDone);
              }
            }
          } finally {
            for (const fd of sockets) h.engine.close(fd);
            h.end();
          }
        },
      );
      fc.assert(property, { numRuns: 60 });
    } finally {
      closeDisk(disk);
      Deno.removeSync(path);
    }
    assert.ok(openDescriptors() <= before, "descriptors left open");
  });
}
