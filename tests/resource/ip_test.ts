import assert from "node:assert/strict";

let namespaces = 0;

async function run(...command: string[]): Promise<string> {
  const [program = "", ...args] = command;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), 30_000);
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    stdin: "null",
    signal: limit.signal,
  }).output().finally(() => clearTimeout(timer));
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, `${command.join(" ")}: ${said}`);
  return said;
}

/** One scenario of ip_scenarios.ts in a namespace of its own; needs root. */
function scenario(name: string): void {
  Deno.test({
    name,
    ignore: Deno.uid() !== 0,
    async fn() {
      const namespace = `bascule-ip-${Deno.pid}-${++namespaces}`;
      await run("ip", "netns", "add", namespace);
      try {
        for (
          const line of [
            "link set lo up",
            "link add v0 type veth peer name v1",
            "link add down0 type veth peer name down1",
            "link set v0 up",
            "link set v1 up",
            "address add 10.9.0.1/24 dev v0",
            "address add fd00:9::1/64 dev v0 nodad",
          ]
        ) await run("ip", "-n", namespace, ...line.split(" "));
        const script = new URL("./ip_scenarios.ts", import.meta.url).pathname;
        await run(
          "ip",
          "netns",
          "exec",
          namespace,
          Deno.execPath(),
          "run",
          "-A",
          "--quiet",
          script,
          name,
        );
      } finally {
        await run("ip", "netns", "del", namespace);
      }
    },
  });
}

scenario("start, renew, stop");
scenario("the address dies with its agent");
scenario("no renewal without a lease");
scenario("suspend and resume");
scenario("announced in both forms, again and again");
scenario("IPv6 without a wait, announced by neighbour advertisement");
scenario("waits for the old owner, if that may still be there");
scenario("an address that somebody took away comes back, and it is said");
scenario("the interface: found, named, missing, down, loopback");
scenario("leftovers of an earlier run are swept");
