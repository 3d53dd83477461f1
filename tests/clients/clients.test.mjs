// Clients that others have written, and ours, on one stream: each is told every message once and in order, whatever becomes
// of the service meanwhile, and however the network cuts what it carries.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after, afterEach, before, describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";

import { start } from "../browser/service.mjs";
import { LISTENERS } from "./listeners.mjs";
import { MANIFEST, published, say, until } from "../browser/ticks.mjs";

/** What a format of lines could stumble over. */
const ODD = [
    "two\nlines",
    "carriage\rreturn\r\nboth",
    "\n\n",
    "data: not a field",
    ": no comment",
    "\ufeffafter a byte order mark",
    "line\u2028separators\u2029in a string",
    "Zoë \u{1f407} 日本語",
    "nul as text \\u0000",
    { nested: [1, 2.5, null, true, { deep: "" }] },
    "long ".repeat(12_000),
    null,
    "",
];

let service;
/** Who listens. */
let all = [];

before(async () => {
    service = await start();
    await service.ask("POST", "/apps/default/deploy", MANIFEST);
});

after(() => service?.stop());

/** One of each, all listening when this returns. */
async function listenAll(origin) {
    all = Object.entries(LISTENERS).map(([name, listen]) => {
        const seen = [];
        return { name, seen, close: listen(origin, "ticks", (told) => seen.push(told)) };
    });
    await until("all listen", async () => {
        await say(service, "is anybody there?");
        return all.every(({ seen }) => seen.length > 0);
    });
}

/** From the first message that each was told, it was told what the log holds. */
async function assertComplete() {
    const last = `the last ${Math.random()}`;
    await say(service, last);
    const log = await published(service);
    for (const { name, seen } of all) {
        const isLast = () => seen.at(-1)?.message === last;
        await until(`${name} is told the last`, isLast).catch(() => {});
        // It joined some time ago: as many as it has seen are the end of what there is.
        assert.deepEqual(seen.map(({ message }) => message), log.slice(-seen.length), name);
        assert.ok(seen.every(({ topic, published_at }) => topic === "ticks" && !Number.isNaN(Date.parse(published_at))));
    }
}

describe("clients", { timeout: 120_000 }, () => {
    afterEach(() => all.forEach(({ close }) => close()));

    test("miss nothing when the service is killed, and when it is stopped", async () => {
        await listenAll(`http://127.0.0.1:${service.port}`);
        for (const end of ["kill", "stop"]) {
            const saying = (async () => {
                for (let n = 0; n < 60; n++) await say(service, { end, n });
            })();
            await until("some are told", () => all.every(({ seen }) => seen.at(-1).message.n > 10));
            await service[end]();
            await service.restart();
            await saying;
        }
        await assertComplete();
    });

    test("read what is odd, cut at every byte", async () => {
        const slow = createServer((client) => {
            const upstream = connect(service.port, "127.0.0.1");
            client.setNoDelay().pipe(upstream);
            for (const socket of [client, upstream]) socket.on("error", () => {});
            client.on("close", () => upstream.destroy());
            (async () => {
                for await (const bytes of upstream) {
                    // One at a time, as far as that is to be had in the time there is.
                    const step = bytes.length > 4096 ? 997 : 1;
                    for (let at = 0; at < bytes.length; at += step) {
                        client.write(bytes.subarray(at, at + step));
                        await setImmediate();
                    }
                }
                client.end();
            })().catch(() => client.destroy());
        }).listen(0, "127.0.0.1").unref();
        await once(slow, "listening");
        await listenAll(`http://127.0.0.1:${slow.address().port}`);
        for (const odd of ODD) await say(service, odd);
        await assertComplete();
    });
});
