/**
 * The service that moves: answers each datagram with its own name. It is up within milliseconds,
 * so that what is measured is the cluster and not the service; Perl is in Debian's base.
 */

/** Port of the service. */
export const SERVICE_PORT = 7777;

/** sched_setscheduler(2). */
const SET_SCHEDULER = Deno.build.arch === "x86_64" ? 144 : 119;

/**
 * Without modules, which take longer to load than all the rest; the numbers are Linux's. It runs in real
 * time (SCHED_FIFO) where it may, as the client does: load on the machine must not look like an outage.
 */
const PROGRAM = `
my $priority = pack('i', 50);
syscall(${SET_SCHEDULER}, 0, 1, $priority);
my ($name, $address, $port) = @ARGV;
$name = $ENV{BASCULE_NODE} if $name eq '';
socket(my $socket, 2, 2, 0) or die "socket: $!";
setsockopt($socket, 0, 15, 1) or die "IP_FREEBIND: $!";
bind($socket, pack('S n C4 x8', 2, $port, split /\\./, $address)) or die "bind: $!";
while (1) {
  my $from = recv($socket, my $asked, 64, 0) or next;
  send($socket, $name, 0, $from);
}`;

/** Command line of the service; it binds the address before it is there. No name: what its agent says. */
export function responder(name: string, address: string): string[] {
  return ["perl", "-e", PROGRAM, name, address, `${SERVICE_PORT}`];
}
