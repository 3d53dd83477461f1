// Behind Caddy, as deploy/Caddyfile has it: certificates for what leads to an app and for nothing else, and frames that come
// as they are sent.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { connect } from "node:tls";

import { freePort, start } from "../browser/service.mjs";
import { MANIFEST, say, until } from "../browser/ticks.mjs";

const CADDYFILE = new URL("../../deploy/Caddyfile", import.meta.url).pathname;
const ADMIN = "admin.example.com";
const claimed = (name) => `${name}.example.com`;

let service, caddy, port;

before(async () => {
    service = await start({ PICLOUD_TRUSTED_PROXIES: "127.0.0.1", PICLOUD_ADMIN_URL: `https://${ADMIN}` });
    const hosts = [...MANIFEST.hosts, ...["ticks", "late"].map(claimed)];
    await service.ask("POST", "/apps/default/deploy", { ...MANIFEST, hosts });
    port = await freePort();
    const home = mkdtempSync(join(process.env.PICLOUD_TEST_DIR ?? tmpdir(), "caddy-"));
    const own = ["local_certs", "skip_install_trust", "admin off", `https_port ${port}`, `http_port ${await freePort()}`];
    caddy = spawn("caddy", ["run", "--adapter", "caddyfile", "--config", CADDYFILE], {
        env: {
            PATH: process.env.PATH,
            HOME: home,
            CADDY_GLOBAL_OPTIONS: own.join("\n"),
            PICLOUD_ADMIN_DOMAIN: ADMIN,
            PICLOUD_LISTEN: `127.0.0.1:${service.port}`,
            PICLOUD_ADMIN_LISTEN: `127.0.0.1:${service.adminPort}`,
        },
        stdio: "ignore",
    });
    await until("Caddy answers", async () => (await handshake(ADMIN)) === "secure");
});

after(async () => {
    caddy?.kill();
    await service?.stop();
});

/** Whether a name is served over TLS. */
function handshake(servername) {
    return new Promise((answer) => {
        const socket = connect({ host: "127.0.0.1", port, servername, rejectUnauthorized: false });
        socket.once("secureConnect", () => answer("secure"));
        socket.once("error", ({ code }) => answer(code === "ECONNREFUSED" ? code : "refused"));
        socket.once("close", () => socket.destroy());
        socket.setTimeout(10_000, () => socket.destroy(new Error("no answer")));
    });
}

async function get(host, path) {
    const options = { host: "127.0.0.1", port, servername: host, path, rejectUnauthorized: false, agent: false };
    const [answer] = await once(request({ ...options, headers: { host } }).end(), "response");
    return answer;
}

describe("behind Caddy", { timeout: 60_000 }, () => {
    test("frames come as they are sent", async () => {
        const answer = await get(claimed("ticks"), "/realtime/topics/ticks");
        assert.equal(answer.statusCode, 200);
        assert.equal(answer.headers["content-type"], "text/event-stream");
        let text = "";
        answer.setEncoding("utf8").on("data", (piece) => (text += piece));
        await until("the stream begins", () => text.includes("event: up-to-date"));
        for (const n of [1, 2, 3]) {
            await say(service, { n });
            await until(`message ${n} is told`, () => text.includes(`"message":{"n":${n}}`));
        }
        assert.equal(answer.complete, false, "the stream is still open");
        answer.destroy();
    });

    test("a certificate is got for what leads somewhere, and when nobody says so, for nothing", async () => {
        assert.equal(await handshake(claimed("ticks")), "secure");
        assert.equal(await handshake(claimed("nobodys")), "refused");
        assert.equal(await handshake("example.com"), "refused");
        await service.kill();
        assert.equal(await handshake(claimed("late")), "refused");
        await service.restart();
        assert.equal(await handshake(claimed("late")), "secure");
    });

    test("the control plane has a name of its own, and keeps to itself what is for this machine", async () => {
        assert.equal((await get(ADMIN, "/healthz")).statusCode, 200);
        assert.equal((await get(ADMIN, `/internal/ask?domain=${claimed("ticks")}`)).statusCode, 404);
        assert.equal((await get(claimed("ticks"), "/api/v1/admin/instance")).statusCode, 404);
    });
});
