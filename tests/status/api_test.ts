import assert from "node:assert/strict";
import { serveApi } from "../../src/status/api.ts";
import { AgentRefused, AgentUnreachable, request } from "../../src/status/client.ts";
import { DOCUMENT, note, RUNNING, withApi, withDirectory } from "./fixtures.ts";

const PROVIDER = {
  status: () => DOCUMENT,
  config: () => RUNNING,
  command: () => Promise.resolve(null),
  journal: { after: () => [], last: 0 },
};

withApi("status is the document, over a socket for its owner alone", async ({ dir, api }) => {
  assert.deepEqual(await request(dir, "GET", "/v1/status"), DOCUMENT);
  assert.equal(Deno.statSync(api.path).mode! & 0o777, 0o600);
});

withApi("events come after an id", async ({ dir, journal }) => {
  for (const text of ["one", "two", "three"]) journal.append(note(text));
  const answer = await request(dir, "GET", "/v1/events?after=1") as {
    events: { id: number; text: string; node: string }[];
    last: number;
  };
  assert.deepEqual(answer.events.map(({ id, text }) => `${id} ${text}`), ["2 two", "3 three"]);
  assert.equal(answer.last, 3);
  assert.equal(answer.events[0]?.node, "serveur-a");
  await assert.rejects(request(dir, "GET", "/v1/events?after=-1"), /whole number/);
});

withApi("a command is checked, carried out and answered", async ({ dir, commands }) => {
  const command = { type: "move", group: "web", to: "serveur-b" };
  assert.deepEqual(await request(dir, "POST", "/v1/command", command), {});
  assert.deepEqual(commands, [command]);
  for (
    const bad of [
      { type: "reboot" },
      { type: "move" },
      { type: "move", group: "" },
      { type: "standby", node: "a", on: "yes" },
      { type: "standby", node: "a", on: true, force: true },
      [],
      "move",
      { type: "move", group: "x".repeat(70_000) },
    ]
  ) {
    await assert.rejects(request(dir, "POST", "/v1/command", bad), (error) => {
      assert.ok(error instanceof AgentRefused);
      assert.ok(error.status === 400 || error.status === 413, `${error.status}`);
      return true;
    });
  }
  assert.equal(commands.length, 1);
});

withApi(
  "a refused command gives the cluster's reason",
  async ({ dir }) => {
    const command = { type: "cleanup", group: "web" };
    await assert.rejects(request(dir, "POST", "/v1/command", command), (error) => {
      assert.ok(error instanceof AgentRefused);
      assert.deepEqual([error.message, error.status], ["web did not fail anywhere", 409]);
      return true;
    });
  },
  () => Promise.resolve("web did not fail anywhere"),
);

withApi(
  "a command that takes too long is answered all the same",
  async ({ dir }) => {
    await assert.rejects(
      request(dir, "POST", "/v1/command", { type: "cleanup", group: "web" }),
      /not done after 0\.2 s, and still under way/,
    );
  },
  () => new Promise(() => {}),
);

withApi("unknown paths and methods are refused", async ({ dir }) => {
  await assert.rejects(request(dir, "GET", "/v2/status"), /there is no \/v2\/status/);
  await assert.rejects(request(dir, "POST", "/v1/status", {}), /takes GET, not POST/);
});

withDirectory("without an agent the error names the socket and the mend", async (dir) => {
  await assert.rejects(request(dir, "GET", "/v1/status"), (error) => {
    assert.ok(error instanceof AgentUnreachable);
    assert.equal(
      error.message,
      `no agent answers at ${dir}/agent.sock; start it with bascule run`,
    );
    return true;
  });
  await assert.rejects(request(`${dir}/nowhere`, "GET", "/v1/status"), /no agent answers/);
});

withDirectory(
  "a socket that a dead agent left is replaced; a living agent's is not",
  async (dir) => {
    const path = `${dir}/agent.sock`;
    const killed = new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        `Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} }); ` +
        "Deno.kill(Deno.pid, 'SIGKILL')",
      ],
    });
    await killed.output();
    assert.ok(Deno.statSync(path).isSocket);
    await assert.rejects(request(dir, "GET", "/v1/status"), /no agent answers/);
    const api = serveApi(dir, PROVIDER);
    try {
      assert.deepEqual(await request(dir, "GET", "/v1/status"), DOCUMENT);
      assert.throws(() => serveApi(dir, PROVIDER), /another agent serves .*--runtime-dir/);
      assert.deepEqual(await request(dir, "GET", "/v1/status"), DOCUMENT);
    } finally {
      await api.close();
    }
    const next = serveApi(dir, PROVIDER);
    await next.close();
  },
);

withDirectory("a path too long for a socket says so", (dir) => {
  assert.throws(
    () => serveApi(`${dir}/${"x".repeat(100)}`, PROVIDER),
    /choose a shorter directory/,
  );
});
