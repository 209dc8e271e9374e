import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { utf8 } from "@dstack/bytes";
import {
  COMPOSE_FILE_MAX_BYTES,
  powersOf,
  projectName,
  readComposeFile,
  type ComposeFile,
} from "../../src/docker/index.ts";
import { ComposeError } from "../../src/errors.ts";
import { memberOf, textOf } from "../../src/docker/node.ts";

const read = (text: string, variables?: Record<string, string>, areAll = false): ComposeFile =>
  readComposeFile(utf8(text), { variables: new Map(Object.entries(variables ?? {})), areAll });
const images = (file: ComposeFile): Record<string, unknown> =>
  Object.fromEntries(file.services.map(({ name, image }) => [name, image?.value]));

describe("readComposeFile", () => {
  it("resolves merge keys: own members win, an earlier merged mapping wins over a later", () => {
    const file = read(
      "x-a: &a {image: a, restart: always}\nx-b: &b {image: b, user: bob}\nservices:\n  one:\n    <<: [*a, *b]\n  two:\n    image: own\n    <<: *a\n",
    );
    assert.deepEqual(images(file), { one: "a", two: "own" });
    assert.equal(textOf(memberOf(file.services[0]?.node, "user")), "bob");
  });

  it("reads services, images and lists that are aliases", () => {
    const file = read(
      "x-i: &i app:1\nx-s: &s {image: whole}\nservices:\n  web: {image: *i}\n  all: *s\n  inline: {image: &j other:2}\n  more: {image: *j}\n",
    );
    assert.deepEqual(images(file), { web: "app:1", all: "whole", inline: "other:2", more: "other:2" });
  });

  it("an alias means the last anchor of that name before it", () => {
    assert.deepEqual(images(read("x-a: &i one\nx-b: &i two\nservices: {a: {image: *i}}\n")), { a: "two" });
    assert.throws(() => read("services: {a: {image: *i}}\nx: &i one\n"), { code: "yaml-invalid" });
  });

  it("lays documents over one another in order", () => {
    const file = read(
      "name: one\nservices:\n  web: {image: a, ports: ['80:80'], environment: [A=1, B=2]}\n---\nname: two\nservices:\n  web: {image: b, ports: ['81:81'], environment: {B: '3'}}\n  db: {image: c}\n",
    );
    assert.deepEqual(images(file), { web: "b", db: "c" });
    assert.equal(projectName(file, "dstack"), "two");
    const web = file.services[0]?.node;
    assert.equal(memberOf(web, "ports")?.kind === "list" && memberOf(web, "ports"), memberOf(web, "ports"));
    assert.equal(textOf(memberOf(memberOf(web, "environment"), "B")), "3");
    assert.equal(textOf(memberOf(memberOf(web, "environment"), "A")), "1");
  });

  it("takes away what a later document marks !reset, and replaces what it marks !override", () => {
    const file = read(
      "services:\n  web: {image: a, ports: ['80:80'], dns: [1.1.1.1]}\n---\nservices:\n  web: {ports: !reset [], dns: !override [9.9.9.9]}\n",
    );
    const web = file.services[0]?.node;
    assert.equal(memberOf(web, "ports"), undefined);
    const dns = memberOf(web, "dns");
    assert.deepEqual(dns?.kind === "list" ? dns.items.map(textOf) : [], ["9.9.9.9"]);
  });

  it("keeps what was there where a later document or a service that extends has a key without a value", () => {
    const base = "image: a, privileged: true, pid: host, ports: ['80:80'], volumes: ['/:/host'], deploy: {replicas: 2}";
    const nothing = "image: , privileged: , pid: , ports: , volumes: , deploy: ";
    for (const text of [
      `services: {a: {${base}}}\n---\nservices: {a: {${nothing}}}\n`,
      `services: {a: {${base}}}\n---\nservices: {a: }\n`,
      `services: {b: {${base}}, a: {extends: b, ${nothing}}}\n`,
    ]) {
      const file = read(text);
      assert.equal(images(file).a, "a", text);
      const kinds = powersOf(file).filter(({ service }) => service === "a");
      assert.deepEqual(
        kinds.map(({ kind }) => kind),
        ["privileged", "host-pid", "docker"],
        text,
      );
    }
    assert.equal(projectName(read("name: one\nservices: {a: {image: x}}\n---\nname:\n"), "dstack"), "one");
  });

  it("lays a service over the one that it extends, over several steps", () => {
    const file = read(
      "services:\n  c: {extends: b, command: run}\n  b: {extends: {service: a}, environment: {X: '1'}}\n  a: {image: base, environment: [Y=2]}\n",
    );
    assert.deepEqual(images(file), { c: "base", b: "base", a: "base" });
    const environment = memberOf(file.services[0]?.node, "environment");
    assert.deepEqual([textOf(memberOf(environment, "X")), textOf(memberOf(environment, "Y"))], ["1", "2"]);
    assert.throws(() => read("services: {a: {extends: b}, b: {extends: a}}"), { code: "compose-invalid" });
    assert.throws(() => read("services: {a: {extends: nobody}}"), /extends nobody, which is no service/);
  });

  it("fills in variables with and without a default", () => {
    const line = (value: string): string => `services: {a: {image: "${value}"}}`;
    for (const [text, variables, expected] of [
      ["$X/${Y}", { X: "a", Y: "b" }, "a/b"],
      ["${X:-d}", {}, "d"],
      ["${X:-d}", { X: "" }, "d"],
      ["${X-d}", { X: "" }, ""],
      ["${X:-${Y:-e}}", {}, "e"],
      ["${X:?no}", { X: "v" }, "v"],
      ["${X:+v}", { X: "1" }, "v"],
      ["a$$b", {}, "a$b"],
      ["a $ b$1$(c)$", {}, "a $ b$1$(c)$"],
      ["$X", {}, undefined],
      ["${X:?no}", {}, undefined],
      ["${X:+v}", {}, undefined],
    ] as const)
      assert.equal(images(read(line(text), variables)).a, expected, text);
    assert.equal(images(read(line("a$X"), {}, true)).a, "a", "unset is empty where all variables are known");
    assert.equal(read(line("${X:?say it}"), {}, true).missing[0]?.message, "say it");
    assert.deepEqual(read(line("${X:?say it}"), {}).missing, []);
    for (const broken of ["${", "${}", "${1}", "${X!}", "${X:-${Y}"])
      assert.throws(() => read(line(broken)), { code: "interpolation-invalid" }, broken);
  });

  it("keeps byte order mark and line ends, and says where an image is written", () => {
    const text = "\ufeffservices:\r\n  web:\r\n    image: app:1\r\n";
    const file = read(text);
    assert.equal(file.text, text);
    const place = file.services[0]?.image?.place;
    assert.equal(text.slice(place?.start, place?.end), "app:1");
    assert.equal(place?.line, 3);
  });

  it("knows which services a profile leaves out", () => {
    const text = "services: {a: {image: x}, b: {image: y, profiles: [debug]}}";
    const active = (file: ComposeFile): boolean[] => file.services.map((service) => service.active);
    assert.deepEqual(active(read(text)), [true, false]);
    assert.deepEqual(active(read(text, { COMPOSE_PROFILES: "other,debug" })), [true, true]);
    assert.deepEqual(active(read(text, { COMPOSE_PROFILES: "*" })), [true, true]);
  });

  it("means by a word what docker compose means by it", () => {
    const value = (word: string): unknown => {
      const node = memberOf(read(`services: {a: {image: x, v: ${word}}}`).services[0]?.node, "v");
      return node?.kind === "scalar" ? node.value : undefined;
    };
    for (const [word, expected] of [
      ["22:22", "22:22"],
      ["0440", 288],
      ["0o17", 15],
      ["0x1f", 31],
      ["1_000", 1000],
      ["yes", "yes"],
      ["on", "on"],
      ["True", true],
      ["~", null],
      ["1e3", 1000],
      ["1.5", 1.5],
      ["089", 89],
      ["2024-01-01", "2024-01-01"],
      ["!!str 5", "5"],
      ["!!int '5'", 5],
      ["'5'", "5"],
    ] as const)
      assert.equal(value(word), expected, word);
  });

  it("makes the project's name as docker compose does", () => {
    assert.equal(projectName(read("services: {}"), "dstack"), "dstack");
    assert.equal(projectName(read("name: My_App!\nservices: {}"), "dstack"), "my_app");
    assert.equal(projectName(read("name: ${N:-n}\nservices: {}"), "dstack"), "n");
    assert.equal(projectName(read("name: ${N}\nservices: {}"), "dstack"), undefined);
  });

  it("doubts itself where services come from elsewhere or a tag is strange", () => {
    assert.deepEqual(read("services: {a: {image: x}}").doubts, []);
    assert.match(read("include: [b.yaml]\nservices: {}").doubts[0] ?? "", /include/);
    assert.match(read("services: {a: {image: !mine x}}").doubts[0] ?? "", /!mine/);
  });

  it("refuses what is no compose file, naming the line", () => {
    for (const [text, code] of [
      ["", "compose-invalid"],
      ["- a", "compose-invalid"],
      ["services: {}\n---\n", "compose-invalid"],
      ["a: b: c", "yaml-invalid"],
      ["a: 1\na: 2", "yaml-invalid"],
      ["services: {1: {image: x}}", "yaml-invalid"],
      ["a: &a [*a]", "yaml-invalid"],
      ["<<: 1", "yaml-invalid"],
      ["services: {a: {ports: [1]}}\n---\nservices: {a: {ports: {b: 1}}}", "compose-invalid"],
    ] as const)
      assert.throws(() => read(text), { code }, text);
    assert.throws(() => read("services:\n  web:\n   image: a\n  - b\n"), /line \d: invalid YAML at column \d/);
    assert.throws(() => readComposeFile(Uint8Array.of(0xff)), { code: "yaml-invalid" });
    assert.throws(() => readComposeFile(new Uint8Array(COMPOSE_FILE_MAX_BYTES + 1)), { code: "too-large" });
  });

  it("doubts what ends a line for docker compose alone", () => {
    for (const end of ["\u0085", "\u2028", "\u2029", "\r"])
      assert.equal(read(`# a${end}# b\nservices: {a: {image: x}}\n`).doubts.length, 1, JSON.stringify(end));
    assert.equal(read("# a\r\nservices: {a: {image: x}}\n").doubts.length, 0);
  });

  it("reads the worst file of its size in seconds", () => {
    const filled = (head: string, unit: (i: number) => string): string => {
      const parts = [head];
      for (let size = head.length, i = 0; size < COMPOSE_FILE_MAX_BYTES - 40; i++)
        size += parts.push(unit(i)) && unit(i).length;
      return parts.join("");
    };
    for (const text of [filled("a: ", () => "["), filled("", (i) => `k${i}:\n`), filled("a: [", () => "{")]) {
      const start = process.cpuUsage();
      try {
        read(text);
      } catch (error) {
        assert.ok(error instanceof ComposeError, String(error));
      }
      const { user } = process.cpuUsage(start);
      assert.ok(user < 8_000_000, `${text.slice(0, 8)}: ${user / 1e6} s`);
    }
  });

  it("bounds the documents of one file, which are looked at one after another", () => {
    const documents = (count: number): string => Array.from({ length: count }, () => "services: {}\n").join("---\n");
    assert.equal(read(documents(100)).services.length, 0);
    assert.throws(() => read(documents(101)), /101 documents, at most 100/);
  });

  it("bounds what aliases expand to, in nesting and in number", () => {
    const row = (i: number): string => `x${i}: &x${i} [${Array.from({ length: 9 }, () => `*x${i - 1}`).join(",")}]\n`;
    const bomb = `x0: &x0 [a]\n${Array.from({ length: 30 }, (_, i) => row(i + 1)).join("")}services: {}\n`;
    assert.throws(() => read(bomb), /values, at most 1000000/);
    const chain = `x0: &x0 [a]\n${Array.from({ length: 3000 }, (_, i) => `x${i + 1}: &x${i + 1} [*x${i}]\n`).join("")}`;
    assert.throws(() => read(chain), /deeper than 200/);
    assert.throws(() => read(`a: ${"[".repeat(100_000)}`), { code: "yaml-invalid" });
    const many = `x: &l {driver: none}\nservices:\n${Array.from({ length: 5000 }, (_, i) => `  s${i}: {image: a, logging: *l}\n`).join("")}`;
    assert.equal(read(many).services.length, 5000);
  });
});
