/**
 * Sends what it is told to on its standard input: JSON of {@linkcode Message}s. For hosts of a test.
 *
 * @module
 */
import dgram from "node:dgram";

/** One datagram, or the bytes of one connection that is closed after them. */
export interface Message {
  readonly transport: "udp" | "tcp";
  readonly host: string;
  readonly port: number;
  readonly hex: string;
}

if (import.meta.main) {
  const messages: Message[] = JSON.parse(await new Response(Deno.stdin.readable).text());
  const socket = dgram.createSocket("udp4");
  for (const { transport, host: hostname, port, hex } of messages) {
    const bytes = Uint8Array.fromHex(hex);
    if (transport === "udp") {
      const { promise, resolve } = Promise.withResolvers<unknown>();
      socket.send(bytes, port, hostname, resolve);
      const error = await promise;
      if (error) throw error;
      continue;
    }
    const connection = await Deno.connect({ hostname, port });
    try {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    } catch {
      // The other side had heard enough.
    }
    connection.close();
  }
  socket.close();
}
