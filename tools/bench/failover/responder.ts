/**
 * The service that moves: answers each datagram with its own name. It is up within milliseconds,
 * so that what is measured is the cluster and not the service; Perl is in Debian's base.
 */

import { installed } from "../processes.ts";

/** Port of the service. */
export const SERVICE_PORT = 7777;

/** Without modules, which take longer to load than all the rest; the numbers are Linux's. */
const PROGRAM = `
my ($name, $address, $port) = @ARGV;
$name = $ENV{BASCULE_NODE} if $name eq '';
socket(my $socket, 2, 2, 0) or die "socket: $!";
setsockopt($socket, 0, 15, 1) or die "IP_FREEBIND: $!";
bind($socket, pack('S n C4 x8', 2, $port, split /\\./, $address)) or die "bind: $!";
while (1) {
  my $from = recv($socket, my $asked, 64, 0) or next;
  send($socket, $name, 0, $from);
}`;

/**
 * Command line of the service; it binds the address before it is there. No name: what its agent says.
 * It runs in real time, as the client does: load on the machine must not look like an outage.
 */
export function responder(name: string, address: string): string[] {
  const priority = installed("chrt") ? ["chrt", "-f", "50"] : [];
  return [...priority, "perl", "-e", PROGRAM, name, address, `${SERVICE_PORT}`];
}
