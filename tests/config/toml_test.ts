import { bad } from "./sample.ts";

// Text that is not TOML, and what the user reads about each.

bad("value missing", [['"1s"', ""]], ["5:12: the value after the equals sign is missing"]);

bad("string without an end", [['"1s"', '"1s']], ["5:15: this string has no closing quote"]);

bad("key twice", [['deadtime = "1s"', `deadtime = "1s"\ndeadtime = "2s"`]], [
  "6:1: this key or table is defined twice; keep one of the two",
]);

bad("table twice", [["[nodes.w]", "[nodes.a]"]], [
  "12:8: this key or table is defined twice; keep one of the two",
]);

bad("value missing at the end", [[
  `resources = [\n  "volume:data",\n  "volume:logs",\n  "ip:192.0.2.3/24",\n]\n`,
  "resources =",
]], ["30:12: the value after the equals sign is missing"]);

bad("header without its end", [["[nodes.w]", "[nodes.w"]], [
  "12:9: this table header has no closing ]",
]);

bad("text without quotes", [['"1s"', "one second"]], [
  "5:12: not TOML from here on; text needs quotes, a comment needs #",
]);

bad("text that is not TOML", [["[cluster]", "cluster {"]], [
  "1:9: a key must be followed by = and a value",
]);
