/**
 * The service that moves: answers each datagram with its own name. It is up within milliseconds,
 * so that what is measured is the cluster and not the service; Perl is in Debian's base.
 */

/** Port of the service. */
export const SERVICE_PORT = 7777;

const PROGRAM = `
use strict; use Socket;
my ($name, $address, $port) = @ARGV;
$name = $ENV{BASCULE_NODE} if $name eq '';
socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die "socket: $!";
setsockopt($socket, 0, 15, 1) or die "IP_FREEBIND: $!";
bind($socket, sockaddr_in($port, inet_aton($address))) or die "bind: $!";
while (1) {
  my $from = recv($socket, my $asked, 64, 0) or next;
  send($socket, $name, 0, $from);
}`;

/** Command line of the service; it binds the address before it is there. No name: what its agent says. */
export function responder(name: string, address: string): string[] {
  return ["perl", "-e", PROGRAM, name, address, `${SERVICE_PORT}`];
}
