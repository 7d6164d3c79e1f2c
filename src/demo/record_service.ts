/**
 * The service that the demonstration keeps available: it stores records in the replicated volume and
 * answers a write only after the volume acknowledged it with FUA.
 *
 * @module
 */
import { NbdConnection } from "../cli/nbd_connection.ts";
import {
  ANSWER_HEADER,
  Operation,
  readFull,
  RECORD_SIZE,
  REQUEST_HEADER,
  writeFull,
} from "./record_protocol.ts";

/** Serves records from the export at `socket` on TCP `host:port` until the process is ended. */
export async function serveRecords(socket: string, exportName: string, host: string, port: number) {
  const volume = await NbdConnection.open(socket, exportName);
  const listener = Deno.listen({ hostname: host, port });
  for await (const conn of listener) {
    serveConnection(volume, conn).catch(() => {
      // A client that went away takes only its own connection with it.
    }).finally(() => conn.close());
  }
}

async function serveConnection(volume: NbdConnection, conn: Deno.TcpConn): Promise<void> {
  conn.setNoDelay(true);
  const header = new Uint8Array(REQUEST_HEADER);
  const view = new DataView(header.buffer);
  while (await readFull(conn, header)) {
    const offset = view.getUint32(4) * RECORD_SIZE;
    if (view.getUint32(0) === Operation.write) {
      const content = new Uint8Array(RECORD_SIZE);
      if (!await readFull(conn, content)) return;
      await volume.write(offset, content, { fua: true });
      await writeFull(conn, new Uint8Array(ANSWER_HEADER));
    } else {
      const answer = new Uint8Array(ANSWER_HEADER + RECORD_SIZE);
      answer.set(await volume.read(offset, RECORD_SIZE), ANSWER_HEADER);
      await writeFull(conn, answer);
    }
  }
}
