import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { utf8 } from "@dstack/bytes";
import { buildAppCompose } from "../../src/index.ts";
import {
  dockerFindings,
  findingText,
  isUnderstood,
  lintComposeFile,
  lintEnvironment,
  lintManifest,
  powersOf,
  readComposeFile,
  type ComposeFile,
} from "../../src/docker/index.ts";

const pinned = `x@sha256:${"ab".repeat(32)}`;
const read = (text: string, variables: Record<string, string> = {}, areAll = false): ComposeFile =>
  readComposeFile(utf8(text), { variables: new Map(Object.entries(variables)), areAll });
const codes = (text: string): string[] =>
  lintComposeFile(read(text)).map(({ severity, code }) => `${severity} ${code}`);
const service = (rest: string, more = ""): string => `services: {a: {image: ${pinned}, ${rest}}}\n${more}`;

describe("what docker compose would refuse", () => {
  it("is named with path, line and what was meant", () => {
    const [finding] = dockerFindings(read("services:\n  web:\n    image: x\n    port: ['80:80']\n"));
    assert.equal(finding?.severity, "refuse-everywhere");
    assert.equal(finding?.service, "web");
    assert.equal(
      finding === undefined ? "" : findingText(finding),
      "line 4: services.web.port: unknown key port; did you mean ports?",
    );
  });

  it("is an unknown key, a wrong type, a value out of form, a missing name, a circle", () => {
    for (const [text, code] of [
      [service("nonsense: 1"), "unknown-key"],
      [service("", "foo: 1"), "unknown-key"],
      [service("restart: false"), "wrong-type"],
      [service("mem_limit: 5q"), "wrong-type"],
      [service("stop_grace_period: 5"), "wrong-type"],
      [service("ports: ['a:b']"), "wrong-value"],
      [service("volumes: ['data::b']"), "wrong-value"],
      [service("networks: [n]"), "undefined-reference"],
      [service("volumes: ['data:/data']"), "undefined-reference"],
      [service("secrets: [s]"), "undefined-reference"],
      [service("depends_on: [b]"), "undefined-reference"],
      [service("depends_on: [a]"), "conflict"],
      [service("network_mode: host, networks: [n]", "networks: {n: }"), "conflict"],
      [service("container_name: c, scale: 2"), "conflict"],
      [service("", "secrets: {s: {}}"), "missing-key"],
      ["services: {a: {command: x}}", "missing-key"],
      ["services: {'a b': {image: x}}", "unknown-key"],
      ["services: {a: }", "wrong-type"],
    ] as const)
      assert.deepEqual(
        dockerFindings(read(text)).map((finding) => finding.code),
        [code],
        text,
      );
  });

  it("takes no time by the square for many services", () => {
    const many = `services:\n${Array.from({ length: 20_000 }, (_, i) => ` s${i}: {image: x}\n`).join("")}`;
    const start = process.cpuUsage();
    assert.deepEqual(dockerFindings(read(many)), []);
    const { user } = process.cpuUsage(start);
    assert.ok(user < 10_000_000, `${user / 1e6} s`);
  });

  it("is nothing of a value whose variable is not known here, and a required one that is known to be missing", () => {
    const text = service("restart: $R, privileged: $P, ports: ['$A:80'], scale: $N, volumes: ['$V:/v']");
    assert.deepEqual(dockerFindings(read(text)), []);
    const required = service('command: "${X:?say it}"');
    assert.deepEqual(dockerFindings(read(required)), []);
    assert.match(
      dockerFindings(read(required, {}, true))[0]?.message ?? "",
      /X has no value and must have one: say it/,
    );
  });

  it("ends at a hundred findings, and a circle of ten thousand services is found", () => {
    const wrong = Array.from({ length: 500 }, (_, i) => `  s${i}: {image: 5}\n`).join("");
    assert.equal(dockerFindings(read(`services:\n${wrong}`)).length, 100);
    const chain = Array.from({ length: 10_000 }, (_, i) => `  s${i}: {image: x, depends_on: [s${(i + 1) % 10_000}]}\n`);
    assert.match(dockerFindings(read(`services:\n${chain.join("")}`))[0]?.message ?? "", /wait for each other/);
  });
});

describe("what cannot work as its author means", () => {
  it("is a port that Docker would say no to when the container starts, and a file that credentials are in", () => {
    for (const [rest, code] of [
      ["ports: [{target: 80, published: abc}]", "refuse-in-cli wrong-value"],
      ["ports: [{target: 70000}]", "refuse-in-cli wrong-value"],
      ["credential_spec: {file: ./a.json}", "refuse-in-cli file-on-your-disk"],
    ] as const)
      assert.deepEqual(codes(service(rest)), [code], rest);
    const [finding] = lintComposeFile(read("services: {a: {build: $CTX}}"));
    assert.match(finding?.message ?? "", /what the variable CTX names does not travel/);
  });

  it("is what lies on the developer's disk, by name", () => {
    for (const [text, path] of [
      [service("env_file: web.env"), "services.a.env_file"],
      [service("env_file: [{path: web.env}]"), "services.a.env_file"],
      [service("label_file: l"), "services.a.label_file"],
      ["services: {a: {extends: {service: b, file: b.yaml}}}", "services.a.extends"],
      [service("", "include: [b.yaml]"), "include"],
      [service("", "secrets: {s: {file: ./s}}"), "secrets.s.file"],
      [service("", "configs: {c: {file: ./c}}"), "configs.c.file"],
      ["services: {a: {build: .}}", "services.a.build"],
      [service("build: {context: ./web}"), "services.a.build"],
      [service("build: {context: https://example.org/a.git, additional_contexts: [b=./b]}"), "services.a.build"],
    ] as const) {
      const found = lintComposeFile(read(text)).filter(({ severity }) => severity !== "advice");
      assert.deepEqual(
        found.map((finding) => [finding.severity, finding.code, finding.path]),
        [["refuse-in-cli", "file-on-your-disk", path]],
        text,
      );
    }
  });

  it("is no bind mount, no optional env_file, no build that brings its sources", () => {
    assert.deepEqual(codes(service("volumes: ['./data:/data']")), ["advice volatile-folder"]);
    assert.deepEqual(codes(service("env_file: [{path: a, required: false}]")), []);
    for (const build of ["https://example.org/a.git", "{context: 'git@example.org:a/b'}"])
      assert.deepEqual(codes(`services: {a: {build: ${build}}}`), ["advice build"], build);
    const inline = codes("services: {a: {build: {dockerfile_inline: FROM x}}}");
    assert.deepEqual(inline, ["advice build", "advice powers"], "it can copy the guest's folder");
  });

  it("is the agent's port, in every form, and no image's name", () => {
    for (const ports of ["'8090:80'", "{target: 80, published: 8090}", "'8089-8091:1-3'", "'127.0.0.1:8090:80'"])
      assert.ok(codes(service(`ports: [${ports}]`)).includes("refuse-in-cli port-of-the-guest"), ports);
    for (const ports of ["'80:8090'", "'8090:80/udp'"])
      assert.deepEqual(codes(service(`ports: [${ports}]`)), [], ports);
    assert.deepEqual(codes("services: {a: {image: No Name}}"), ["refuse-in-cli image-invalid"]);
    assert.deepEqual(codes("services: {}"), ["refuse-in-cli no-services"]);
  });

  it("is a restart policy that Docker does not have", () => {
    for (const policy of ["sometimes", "always:3", "on-failure:x"])
      assert.deepEqual(codes(service(`restart: ${policy}`)), ["refuse-in-cli wrong-value"], policy);
    for (const policy of ["'no'", "always", "unless-stopped", "on-failure", "on-failure:3", "'${POLICY}'"])
      assert.deepEqual(codes(service(`restart: ${policy}`)), [], policy);
  });

  it("is an environment that the guest would refuse", () => {
    const of = (variables: Record<string, string>): string[] =>
      lintEnvironment(new Map(Object.entries(variables))).map(({ code }) => code);
    assert.deepEqual(of({ A: "1", DSTACK_DOCKER_USERNAME: "u", DSTACK_AWS_REGION: "r" }), []);
    assert.deepEqual(of({ LD_PRELOAD: "x" }), ["dangerous-variable"]);
    assert.deepEqual(of({ DSTACK_OTHER: "x" }), ["dangerous-variable"]);
    assert.deepEqual(of({ A: "x".repeat(131_073) }), ["environment-too-large"]);
    assert.deepEqual(of({ A: "x".repeat(131_000), B: "x".repeat(131_000), C: "y".repeat(1000) }), [
      "environment-too-large",
    ]);
  });
});

describe("advice", () => {
  it("tells mutable images, with the variable where one decides", () => {
    assert.deepEqual(codes("services: {a: {image: x}}"), ["advice image-mutable"]);
    const [finding] = lintComposeFile(read('services: {a: {image: "x:${TAG}"}}'));
    assert.match(finding?.message ?? "", /variable TAG/);
    assert.deepEqual(codes(service("restart: always")), []);
  });

  it("tells a GPU however it is asked for", () => {
    for (const rest of [
      "gpus: all",
      "runtime: nvidia",
      "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
    ])
      assert.deepEqual(codes(service(rest)), ["advice gpu"], rest);
  });

  it("tells what a manifest and its compose file mean together", () => {
    const of = (yaml: string, sent: string[], options: object = {}, userConfig?: string): string[] => {
      const { compose } = buildAppCompose({ name: "a", dockerComposeFile: yaml });
      const file = read(yaml, Object.fromEntries(sent.map((name) => [name, "v"])));
      return lintManifest({ manifest: { ...compose, ...options }, file, sent: new Set(sent), userConfig }).map(
        ({ code, message }) => `${code} ${/variable (\w+)/.exec(message)?.[1] ?? ""}`.trim(),
      );
    };
    const yaml = service('environment: {A: "$A", B: "${B:-x}", C: }', "secrets: {s: {environment: D}}");
    assert.deepEqual(of(yaml, ["A", "C", "D"]), []);
    assert.deepEqual(of(yaml, []), ["variable-not-sent A", "variable-not-sent C", "variable-not-sent D"]);
    const plain = service("restart: always");
    assert.deepEqual(of(plain, [], { noInstanceId: true }), ["one-disk-key"]);
    assert.deepEqual(of(plain, [], { allowedEnvs: ["LD_PRELOAD", "A"] }), ["dangerous-variable"]);
    assert.deepEqual(of(plain, [], { preLaunchScript: "verify || exit 1" }), ["gate-in-pre-launch"]);
    assert.deepEqual(of(plain, [], { preLaunchScript: "docker image prune -af" }), []);
    assert.deepEqual(of(plain, [], {}, '{"node_id": "7"}'), ["identity-in-user-config"]);
    assert.deepEqual(of(plain, [], {}, '{"log_level": "debug"}'), []);
    assert.deepEqual(of(plain, [], { preLaunchScript: "jq .owner /dstack/user_config" }), ["identity-in-user-config"]);
  });
});

describe("powers", () => {
  const kinds = (text: string): string[] => powersOf(read(text)).map(({ kind }) => kind);

  it("that a variable decides from outside are told with its name", () => {
    const told = (rest: string, maySend: readonly string[] = [], more = ""): string[] =>
      powersOf(readComposeFile(utf8(service(rest, more)), { maySend })).map(({ kind, what }) => `${kind} ${what}`);
    for (const [rest, key] of [
      ["privileged: 'V'", "privileged"],
      ["network_mode: 'V'", "network_mode"],
      ["pid: 'V'", "pid"],
      ["ipc: 'V'", "ipc"],
      ["uts: 'V'", "uts"],
      ["userns_mode: 'V'", "userns_mode"],
      ["cgroup: 'V'", "cgroup"],
      ["cap_add: ['V']", "cap_add"],
      ["devices: ['V:/dev/x']", "devices"],
      ["security_opt: ['V']", "security_opt"],
      ["volumes: ['V/docker.sock:/w']", "volumes"],
      ["volumes: ['V']", "volumes"],
      ["runtime: 'V'", "runtime"],
      ["build: {context: 'https://V'}", "build"],
      ["env_file: 'V'", "env_file"],
      ["volumes: [{type: bind, source: 'V', target: /w}]", "volumes"],
      ["volumes: [{type: 'V', source: x, target: /w}]", "volumes"],
      ["post_start: [{command: x, privileged: 'V'}]", "post_start privileged"],
    ] as const) {
      const expected = [`variable ${key}: the variable P decides`];
      assert.deepEqual(told(rest.replace("V", "${P}")), expected, rest);
      assert.deepEqual(told(rest.replace("V", "${P:-none}"), ["P"]), expected, rest);
    }
    const bound = "volumes: {d: {driver_opts: {type: none, o: bind, device: $P}}}";
    assert.deepEqual(told("volumes: ['d:/d']", [], bound), ["variable volumes: the variable P decides"]);
    const secret = "secrets: {s: {file: $P}}";
    assert.deepEqual(told("secrets: [s]", [], secret), ["variable secrets: the variable P decides"]);
    for (const rest of ["privileged: '${P:-false}'", "network_mode: '${P:-bridge}'", "volumes: ['data:${P}']"])
      assert.deepEqual(told(rest), [], rest);
  });

  it("are seen wherever and however they are written", () => {
    for (const [rest, kind] of [
      ["privileged: true", "privileged"],
      ["privileged: 'yes'", "privileged"],
      ["network_mode: host", "host-network"],
      ["pid: host", "host-pid"],
      ["ipc: host", "host-ipc"],
      ["cap_add: [SYS_ADMIN]", "capabilities"],
      ["devices: ['/dev/kvm']", "devices"],
      ["security_opt: ['seccomp:unconfined']", "unconfined"],
      ["volumes: ['/var/run/docker.sock:/s']", "docker"],
      ["volumes: ['/run/docker.sock:/s:ro']", "docker"],
      ["volumes: ['/run:/host']", "docker"],
      ["volumes: ['/var/run/:/host']", "docker"],
      ["volumes: ['/:/host']", "docker"],
      ["volumes: ['../run/docker.sock:/s']", "docker"],
      ["volumes: ['${S:-/var/run/docker.sock}:/s']", "docker"],
      ["volumes: [{type: bind, source: /var/lib/docker, target: /d}]", "docker"],
      ["volumes: ['.:/app']", "guest-files"],
      ["volumes: ['/dstack:/d']", "guest-files"],
      ["volumes: ['./.host-shared/.appkeys.json:/k']", "guest-files"],
      ["volumes: ['/proc:/host/proc']", "guest-files"],
      ["volumes: ['/var/run/dstack.sock:/s']", "guest-socket"],
    ] as const)
      assert.deepEqual(kinds(service(rest)), [kind], rest);
    assert.deepEqual(kinds(service("volumes: ['./data:/data', 'v:/v', '/dstack/app-compose.json:/c:ro']")), []);
    const bound = "volumes: {vol: {driver_opts: {type: none, o: bind, device: /var/run}}}";
    assert.deepEqual(kinds(service("volumes: ['vol:/host']", bound)), ["docker"]);
    assert.deepEqual(kinds(service("secrets: [s]", "secrets: {s: {file: /run/docker.sock}}")), ["docker"]);
  });

  it("are in every file of the guest but the app's own, and what everybody may read", () => {
    const none = (rest: string, more = ""): void => assert.deepEqual(kinds(service(rest, more)), [], rest + more);
    const files = (rest: string): void => assert.deepEqual(kinds(service(rest)), ["guest-files"], rest);
    for (const path of [
      "/usr/bin",
      "/root",
      "~/x",
      "/lib/modules",
      "/etc/ld.so.preload",
      "/etc",
      "/srv",
      "/home",
      "/tmp",
    ])
      for (const mode of ["", ":ro"]) files(`volumes: ['${path}:/w${mode}']`);
    for (const path of [
      ".",
      "./.init-0.sh",
      "./a/.b",
      "./persistent/x",
      "./docker-compose.yaml",
      "/var/volatile/dstack",
    ])
      files(`volumes: ['${path}:/w']`);
    for (const path of ["/etc/localtime", "/etc/timezone", "/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs"]) {
      none(`volumes: ['${path}:/w:ro']`);
      none(`volumes: [{type: bind, source: ${path}, target: /w, read_only: true}]`);
      for (const rest of [
        "'P:/w'",
        "'P:ro'",
        "'P:/w:z'",
        "'P:/w:ro,rw'",
        "'P:/w:$V'",
        "{type: bind, source: P, target: /w}",
      ])
        files(`volumes: [${rest.replace("P", path)}]`);
    }
    for (const path of ["./data", "./a/b", "/dstack/data", "/dstack/user_config"]) none(`volumes: ['${path}:/w']`);
    // A link in the first leads the second anywhere.
    assert.deepEqual(kinds(service("volumes: ['./data:/data', './data/l:/l']")), ["guest-files"]);
    none("volumes: ['./data:/data:ro', './data/l:/l:ro', './database:/d']");
    none("env_file: [.env, {path: app.env, required: false}, /dstack/.host-shared/.decrypted-env]");
    files("env_file: /dstack/.host-shared/.appkeys.json");
    files("label_file: [/dstack/.host-shared/.appkeys.json]");
    files("volumes: ['/run/dstack.sock.d:/s']");
  });

  it("are in volumes that the guest's kernel or a plugin mounts, unless they hold nothing of the guest", () => {
    const of = (volume: string): string[] => kinds(service("volumes: ['vol:/w']", `volumes: {vol: ${volume}}`));
    const options = (text: string): string[] => of(`{driver: local, driver_opts: {${text}}}`);
    for (const text of [
      "type: ext4, device: /dev/mapper/dstack_data_disk",
      'type: overlay, device: overlay, o: "lowerdir=/tmp,upperdir=/usr/bin,workdir=/usr/w"',
      "type: proc, device: proc",
      "type: cgroup2, device: none",
      "type: bindx, device: /run",
      "type: nfs, device: /run",
      "device: /run",
    ])
      assert.deepEqual(options(text), ["devices"], text);
    for (const text of [
      "type: none, device: /run",
      "type: tmpfs, device: /run, o: 'size=1m,bind'",
      "o: rbind, device: /",
    ])
      assert.deepEqual(options(text), ["docker"], text);
    assert.deepEqual(options("type: none, o: bind, device: /usr/bin"), ["guest-files"]);
    for (const text of [
      "type: none, o: bind, device: /dstack/data",
      "type: tmpfs, device: tmpfs, o: size=1m",
      'type: nfs, device: ":/data", o: "addr=10.0.0.1,rw"',
      "type: cifs, device: //server/share",
      "",
    ])
      assert.deepEqual(options(text), [], text);
    assert.deepEqual(of("{driver: vieux/sshfs}"), ["plugin"]);
    assert.deepEqual(kinds(service("volumes: [{type: cluster, source: x, target: /w}]")), ["plugin"]);
  });

  it("are in the guest's network by whatever name", () => {
    const of = (networks: string, rest = "networks: [n]"): string[] => kinds(service(rest, `networks: ${networks}`));
    for (const networks of ["{n: {external: true, name: host}}", "{n: {name: host}}", "{n: {external: {name: host}}}"])
      assert.deepEqual(of(networks), ["host-network"], networks);
    assert.deepEqual(of("{host: {external: true}}", "networks: {host: {}}"), ["host-network"]);
    assert.deepEqual(of("{default: {external: true, name: host}}", "restart: always"), ["host-network"]);
    assert.deepEqual(of("{n: {external: true, name: $P}}"), ["variable"]);
    assert.deepEqual(of("{n: {driver: weave}}"), ["plugin"]);
    for (const networks of ["{n: {}}", "{n: {external: true}}", "{n: {driver: macvlan}}", "{n: , h: {name: host}}"])
      assert.deepEqual(of(networks), [], networks);
  });

  it("are in builds, runtimes and profiles of the app's own", () => {
    const remote = "context: https://x.org/y.git";
    for (const [rest, expected] of [
      ["build: .", ["guest-files"]],
      ["build: {dockerfile_inline: FROM x}", ["guest-files"]],
      ["build: /usr", ["guest-files"]],
      [`build: {${remote}, additional_contexts: {k: /dstack/.host-shared}}`, ["guest-files"]],
      [`build: {${remote}, ssh: ['default=/run/docker.sock']}`, ["guest-files"]],
      [`build: {${remote}, privileged: true}`, ["privileged"]],
      [`build: {${remote}, entitlements: [security.insecure]}`, ["privileged"]],
      [`build: {${remote}, network: host}`, ["host-network"]],
      [`build: {${remote}, additional_contexts: {k: 'docker-image://x'}}`, []],
      ["build: ./app", []],
      ["runtime: sysbox", ["unconfined"]],
      ["runtime: runc", []],
      ["runtime: nvidia", []],
      ["security_opt: ['seccomp:./permissive.json']", ["unconfined"]],
      ["security_opt: [apparmor=mine]", ["unconfined"]],
      ["security_opt: [systempaths=unconfined]", ["unconfined"]],
      ["security_opt: ['no-new-privileges:true', apparmor=docker-default]", []],
    ] as const)
      assert.deepEqual(kinds(service(rest)), expected, rest);
    const secret = "secrets: {s: {file: /dstack/.host-shared/.appkeys.json}}";
    assert.deepEqual(kinds(service(`build: {${remote}, secrets: [s]}`, secret)), ["guest-files"]);
  });

  it("come through anchors, merge keys and extends", () => {
    for (const text of [
      `x-p: &p {privileged: true}\nservices: {a: {<<: *p, image: x}}`,
      `x-v: &v [/var/run/docker.sock:/s]\nservices: {a: {image: x, volumes: *v}}`,
      `services: {b: {image: x, extends: a}, a: {image: x, pid: host, profiles: [p]}}`,
    ])
      assert.notEqual(kinds(text).length, 0, text);
  });
});

describe("a file that was understood", () => {
  it("has no doubt, no unknown name and nothing that docker compose would refuse", () => {
    assert.equal(isUnderstood(read(service("restart: always"))), true);
    for (const text of [
      service("", "include: [b.yaml]"),
      service("restart: !mine always"),
      service("nonsense: 1"),
      `name: $N\n${service("restart: always")}`,
    ])
      assert.equal(isUnderstood(read(text)), false, text);
  });
});
