// A PiCloud of a test's own: on free ports, with a database of its own, gone when the test is.

import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { request } from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PROGRAM = process.env.PICLOUD_PROGRAM;

/** Starts one and waits until it is ready. `settings` are variables as `picloud serve` reads them. */
export async function start(settings = {}) {
    if (!PROGRAM) throw new Error("PICLOUD_PROGRAM names no picloud: run scripts/test-browser");
    const data = mkdtempSync(join(process.env.PICLOUD_TEST_DIR ?? tmpdir(), "service-"));
    // The unprivileged user that root runs PostgreSQL as has to pass through.
    chmodSync(data, 0o711);
    const port = await freePort();
    const shared = "PICLOUD_ADMIN_HOST" in settings;
    const adminPort = shared ? port : await freePort();
    const listen = {
        PICLOUD_LISTEN: `127.0.0.1:${port}`,
        ...(shared ? {} : { PICLOUD_ADMIN_LISTEN: `127.0.0.1:${adminPort}` }),
    };
    // What the surroundings say of another service is not for this one.
    const inherited = Object.entries(process.env).filter(([name]) => !/^(PICLOUD_|DATABASE_URL$)/.test(name));
    let child, ended;
    const said = [];
    const run = async () => {
        child = spawn(PROGRAM, ["serve", "--data-dir", data], {
            cwd: data,
            env: { ...Object.fromEntries(inherited), NO_COLOR: "1", ...listen, ...settings },
            stdio: ["ignore", "ignore", "pipe"],
        });
        ended = once(child, "exit");
        await new Promise((ready, failed) => {
            child.once("error", failed);
            createInterface(child.stderr)
                .on("line", (line) => {
                    said.push(line);
                    if (/ INFO Ready /.test(line)) ready();
                })
                .on("close", () => failed(new Error(`the service ended instead of being ready:\n${said.join("\n")}`)));
        });
    };
    await run();
    // However this process ends, the service is told to, and it stops its database.
    const farewell = () => child.kill();
    process.once("exit", farewell);
    const key = /^key = "(.*)"$/m.exec(readFileSync(join(data, "profile.toml"), "utf8"))[1];
    const adminHost = settings.PICLOUD_ADMIN_HOST ?? "127.0.0.1";

    return {
        port,
        adminPort,

        /** Asks the control plane with the key that the first start made, and wants a good answer. */
        async ask(method, path, body) {
            const answer = await ask({ port: adminPort, host: adminHost, key, method, path, body });
            if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
            return answer.text && JSON.parse(answer.text);
        },

        /** Deploys a folder, as a person would. */
        async deploy(folder) {
            const deployed = spawn(PROGRAM, ["--data-dir", data, "deploy", folder], { stdio: ["ignore", "ignore", "pipe"] });
            const complaints = Buffer.concat(await deployed.stderr.toArray()).toString();
            if (deployed.exitCode ?? (await once(deployed, "exit"))[0]) throw new Error(`${folder}: ${complaints}`);
        },

        /** Ends it as a power failure would; only its database goes on. */
        async kill() {
            child.kill("SIGKILL");
            await ended;
        },

        /** Stops it and waits for its good end. */
        async stop() {
            // Who was killed has left a database behind, which only a service stops.
            if (child.signalCode) await run();
            child.kill("SIGTERM");
            const [code] = await ended;
            if (code !== 0) throw new Error(`the service ended with ${code}:\n${said.join("\n")}`);
        },

        /** Starts it again, where it was and with what it had. */
        restart: run,
    };
}

/** One request. Not every machine resolves names below `localhost`, so the address is said, and the name as a header. */
async function ask({ port, host, key, method, path, body }) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = { host: `${host}:${port}`, authorization: `Bearer ${key}` };
    if (text !== undefined) headers["content-type"] = "application/json";
    const sent = request({ host: "127.0.0.1", port, method, path: `/api/v1/admin${path}`, headers, agent: false });
    sent.end(text);
    const [answer] = await once(sent, "response");
    const chunks = await answer.toArray();
    return { status: answer.statusCode, text: Buffer.concat(chunks).toString() };
}

/** A port that nobody listens on, below those that the kernel gives out by itself: nobody's connection takes it meanwhile. */
export async function freePort() {
    for (;;) {
        const port = 20_000 + Math.floor(Math.random() * 12_000);
        const server = createServer();
        const taken = await new Promise((tried) => {
            server.once("error", () => tried(true)).listen(port, "127.0.0.1", () => tried(false));
        });
        if (taken) continue;
        server.close();
        await once(server, "close");
        return port;
    }
}
