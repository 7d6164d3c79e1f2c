import assert from "node:assert/strict";
import fc from "fast-check";
import { DEADTIME, makeConfig } from "./configs.ts";
import { World } from "./world.ts";

function cleanups(world: World, node: string): number {
  return world.view(node).records.groups["web"]?.cleanups ?? 0;
}

Deno.test("a register is linearizable under loss, doubling, reordering and crashes", () => {
  // Breaks when a read is no read (no write-back), a promise is forgotten, a ballot used twice, or an
  // outcome in doubt is decided upon: an answered change would be missing from a later one.
  const plan = fc.record({
    seed: fc.nat(1_000_000),
    steps: fc.array(
      fc.record({
        node: fc.nat(2),
        what: fc.constantFrom("change", "change", "change", "crash", "fuse", "cut", "heal"),
        other: fc.nat(2),
        wait: fc.integer({ min: 1, max: 400 }),
        fuse: fc.nat(25),
      }),
      { minLength: 10, maxLength: 40 },
    ),
    loss: fc.constantFrom(0, 0.1, 0.3),
  });
  fc.assert(
    fc.property(plan, ({ seed, steps, loss }) => {
      const world = new World({ config: makeConfig({ volume: false }), seed });
      world.startAll();
      world.until("started", () => world.owner() !== null, 5 * DEADTIME);
      world.loss = loss;
      world.duplication = 0.2;
      world.delay = [0.5, 60];
      const names = ["a", "b", "w"];
      /** Highest count that any answered change is known to have reached. */
      let answered = 0;
      const asked = new Map<string, { node: string; id: number; floor: number }>();
      const collect = () => {
        for (const [key, { node, id, floor }] of asked) {
          const { commands, state } = world.node(node);
          if (state === null) asked.delete(key);
          else if (commands.has(id)) {
            asked.delete(key);
            if (commands.get(id) !== null) continue;
            const count = cleanups(world, node);
            assert.ok(count > floor, `answered at ${count}, ${floor} was answered before it`);
            answered = Math.max(answered, count);
          }
        }
      };
      steps.forEach(({ node, what, other, wait, fuse }, id) => {
        const name = names[node]!;
        const sim = world.node(name);
        if (what === "crash" && sim.state) world.crash(name);
        if (what === "fuse") sim.fuse = fuse;
        if (what === "cut" && node !== other) world.cuts.add(`${name}>${names[other]}`);
        if (what === "heal") world.heal();
        if (what === "change" && sim.state) {
          asked.set(`${id}`, { node: name, id, floor: answered });
          world.event(name, { type: "command", id, command: { type: "cleanup", group: "web" } });
        }
        for (let i = 0; i < 4; i++) {
          world.run(wait / 4);
          collect();
        }
        for (const each of names) if (!world.node(each).state) world.start(each);
      });
      world.heal();
      world.loss = 0;
      for (const each of names) {
        world.node(each).fuse = -1;
        if (!world.node(each).state) world.start(each);
      }
      world.run(3 * DEADTIME);
      collect();
      world.event("w", { type: "command", id: 999, command: { type: "cleanup", group: "web" } });
      world.until("the last is answered", () => world.node("w").commands.has(999), 5 * DEADTIME);
      assert.ok(cleanups(world, "w") > answered, "an answered change was lost");
    }),
    { numRuns: 60, seed: 20260101 },
  );
});

Deno.test("a value accepted by a minority and never chosen does not count", () => {
  // Breaks when a node believes its own acceptor (H14): the record it then serves under may vanish.
  const world = new World({ config: makeConfig({ volume: false }) });
  world.startAll();
  world.until("started", () => world.owner() === "a", 5 * DEADTIME);
  world.run(DEADTIME);
  world.cut("w", ["a", "b"]);
  const before = cleanups(world, "w");
  world.event("w", { type: "command", id: 1, command: { type: "cleanup", group: "web" } });
  world.run(3 * DEADTIME);
  assert.equal(cleanups(world, "w"), before);
  world.until("given up", () => world.node("w").commands.has(1), 30 * DEADTIME);
  assert.match(world.node("w").commands.get(1) ?? "", /no majority of voters answers/);
});

Deno.test("a take accepted by the taker alone, whose taker dies, does not freeze the owner for ever", () => {
  // Breaks H33 and P4: the owner reads a half-made take that its own voter forbids to complete.
  for (let seed = 1; seed <= 12; seed++) {
    let armed = false;
    const world: World = new World({
      config: makeConfig(),
      seed,
      wire: (frame, from, to) => {
        const takes = frame.body.type === "ACCEPT" && frame.body.proposal.takes !== undefined;
        if (armed && takes && from === "b" && to === "w") {
          // This frame leaves, then the taker is gone before its own voter accepts.
          armed = false;
          world.crash("b");
        }
        return frame;
      },
    });
    world.startAll();
    world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
    world.run(3 * DEADTIME);
    world.cut("a", ["b", "w"]);
    armed = true;
    world.until("the taker is gone", () => world.node("b").state === null, 3 * DEADTIME);
    world.heal();
    // With {a, w} alone the take may have been chosen: it has to be completed.
    world.until(
      "the record is settled",
      () => world.view("a").records.groups["web"]?.epoch === 2,
      8 * DEADTIME,
    );
    assert.deepEqual(world.serving(), []);
    world.start("b");
    world.until("b serves", () => world.owner() === "b", 4 * DEADTIME);
  }
});
