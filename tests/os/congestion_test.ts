import assert from "node:assert/strict";
import {
  congestionControl,
  doNotPace,
  roundTrip,
  setCongestionControl,
} from "../../src/os/congestion.ts";
import { libc } from "../../src/os/libc.ts";
import { encodeInetSockaddr, listenTcp, localEndpoint, tcpSocket } from "../../src/os/sockets.ts";

/** A connection to this machine itself. */
function connection(): number {
  const listener = listenTcp("127.0.0.1", 0);
  try {
    const sockaddr = encodeInetSockaddr("127.0.0.1", localEndpoint(listener)!.port);
    const fd = tcpSocket(sockaddr);
    assert.equal(libc.connect(fd, sockaddr, sockaddr.length), 0);
    return fd;
  } finally {
    libc.close(listener);
  }
}

const probe = connection();
const HAS_BBR = setCongestionControl(probe, "bbr");
libc.close(probe);

const PACED = "a connection to a neighbour is not paced";
if (!HAS_BBR) Deno.test.ignore(`not run here (needs the module tcp_bbr): ${PACED}`, () => {});
else {
  Deno.test(PACED, () => {
    const fd = connection();
    try {
      assert.ok(setCongestionControl(fd, "bbr"));
      assert.ok(roundTrip(fd) < 2000);
      doNotPace(fd);
      assert.match(congestionControl(fd), /^(cubic|reno)$/);
    } finally {
      libc.close(fd);
    }
  });
}

Deno.test("another congestion control is kept, and a socket of another kind left alone", () => {
  const fd = connection();
  try {
    assert.ok(setCongestionControl(fd, "reno"));
    doNotPace(fd);
    assert.equal(congestionControl(fd), "reno");
    assert.equal(setCongestionControl(fd, "none-of-that-name"), false);
  } finally {
    libc.close(fd);
  }
  doNotPace(-1);
  assert.equal(congestionControl(-1), "");
  assert.ok(Number.isNaN(roundTrip(-1)));
});
