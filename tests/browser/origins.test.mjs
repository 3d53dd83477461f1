// An owner is signed in and opens a page that a hostile script serves, in a real browser. What the page tries, and what
// the script tries behind it, must come to nothing; what the same browser does from the control plane's own pages works, so
// that a refusal is one of ours.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import * as attack from "./attacks.mjs";
import { HOME, launch } from "./chromium.mjs";
import { start } from "./service.mjs";

const EMAIL = "ada@example.com";
const STRANGER = "mallory@example.com";
const PASSWORD = "correct horse battery";

/** Where the two planes are for a browser; the service answers at all of them, whatever it is started for. */
const PLACES = [
    {
        name: "two ports of this machine",
        service: "ports",
        // Cookies know no ports: the session goes along to both.
        getsTheSession: true,
        origins: ({ port, adminPort }) => [`http://127.0.0.1:${port}`, `http://127.0.0.1:${adminPort}`],
    },
    {
        name: "two ports of a machine at home",
        service: "ports",
        getsTheSession: true,
        origins: ({ port, adminPort }) => [`http://${HOME}:${port}`, `http://${HOME}:${adminPort}`],
    },
    {
        name: "two host names at one port",
        service: "names",
        getsTheSession: false,
        origins: ({ port }) => [`http://hostile.localhost:${port}`, `http://admin.localhost:${port}`],
    },
];

const script = (name, ...routes) => ({
    name,
    source: readFileSync(new URL(`hostile/${name}.rhai`, import.meta.url), "utf8"),
    routes: routes.map((route) => ({ method: route.split(" ")[0], path: route.split(" ")[1] })),
});

/** Starts a service with an owner and the hostile app. */
async function prepared(settings) {
    const service = await start(settings);
    const account = { email: EMAIL, password: PASSWORD, role: "owner" };
    service.owner = (await service.ask("POST", "/accounts", account)).id;
    await service.ask("POST", "/accounts", { email: STRANGER, password: PASSWORD });
    await service.ask("POST", "/apps/default/deploy", {
        hosts: ["127.0.0.1", HOME, "hostile.localhost"],
        scripts: [
            script("page", "GET /hostile"),
            script("headers", "GET /hostile/headers"),
            script("cookies", "GET /hostile/cookies"),
            script("forward", "POST /hostile/forward"),
        ],
    });
    return service;
}

const services = {};
let browser;

before(async () => {
    [browser, services.ports, services.names] = await Promise.all([
        launch(),
        prepared(),
        prepared({ PICLOUD_ADMIN_HOST: "admin.localhost" }),
    ]);
});

after(async () => {
    await browser?.close();
    await Promise.all(Object.values(services).map((service) => service.stop()));
});

for (const place of PLACES) describe(place.name, { timeout: 60_000 }, () => {
    let service, context, data, admin, hostile, owners, csrf;
    const api = (path) => `${admin}/api/v1/admin${path}`;

    before(async () => {
        service = services[place.service];
        [data, admin] = place.origins(service);
        context = await browser.newContext();
        context.setDefaultTimeout(20_000);

        // A page of the control plane's own. It lets nobody run anything in it, us neither, unless its policy is set aside.
        owners = await context.newPage();
        const devtools = await context.newCDPSession(owners);
        await devtools.send("Page.setBypassCSP", { enabled: true });
        await owners.goto(`${admin}/join/x`);
        const signedIn = await owners.evaluate(attack.sendJson, {
            url: api("/session"),
            body: { email: EMAIL, password: PASSWORD },
        });
        assert.equal(signedIn.status, 201, signedIn.text);
        csrf = JSON.parse(signedIn.text).csrf;

        hostile = await context.newPage();
        await hostile.goto(`${data}/hostile`);
        assert.equal(await hostile.title(), "Kittens");
    });

    after(() => context?.close());

    const session = async () => {
        const cookies = await context.cookies(admin);
        return cookies.filter((cookie) => cookie.name.includes("session"));
    };

    /** Whom the control plane takes the browser for. */
    const whoIsSignedIn = async () => {
        const answer = await owners.evaluate(attack.readByFetch, api("/session"));
        return JSON.parse(answer.text).account?.email;
    };

    /** What has been changed since a moment, by whomever: runs of scripts change nothing here. */
    const changesSince = async (position) => {
        const events = (await service.ask("GET", "/events?limit=100")).items;
        // What PiCloud does by itself changes nothing.
        const isChange = (event) => !/^(invocation|seal)\./.test(event.type);
        const changes = events.filter((event) => event.position > position && isChange(event));
        return changes.map((event) => `${event.type} by ${event.actor}`);
    };
    const now = async () => (await service.ask("GET", "/events?limit=1")).items[0].position;

    test("the session is nothing that scripts see, in the page or on the server", async () => {
        const cookie = await session();
        assert.deepEqual(cookie.map(({ name, httpOnly, sameSite }) => [name, httpOnly, sameSite]), [
            ["picloud_session", true, "Strict"],
        ]);
        // One of its own shows that it would see any.
        const seen = await hostile.evaluate(attack.writeCookies, ["tabby=1; Path=/"]);
        assert.equal(seen, "tabby=1");
        const { text } = await hostile.evaluate(attack.readByFetch, `${data}/hostile/headers`);
        assert.equal(JSON.parse(text).cookie, "tabby=1");
        assert.ok(!text.includes(cookie[0].value), text);
        // A visit, which sends along what a fetch may leave out.
        const visit = await context.newPage();
        await visit.goto(`${data}/hostile/headers`);
        const page = await visit.evaluate(() => document.body.innerText);
        assert.ok(page.includes("tabby=1") && !page.includes("picloud_session"), page);
        await visit.close();
    });

    test("no cookie of a script takes the session's place", async () => {
        const before = await session();
        const { text } = await hostile.evaluate(attack.readByFetch, `${data}/hostile/cookies`);
        assert.equal(text, "set");
        const cookies = [
            "picloud_session=pcs_hostile; Path=/",
            "picloud_session=; Path=/; Max-Age=0",
            "picloud_session=pcs_hostile; Path=/; Domain=localhost",
        ];
        // On the same host such a cookie signs the owner out, docs/security.md says; of another host's the control plane
        // never hears.
        if (!place.getsTheSession) {
            cookies.push("picloud_session=pcs_hostile; Path=/api", "__Host-picloud_session=pcs_hostile; Path=/; Secure");
        }
        const seen = await hostile.evaluate(attack.writeCookies, cookies);
        assert.match(seen, /kitten=tabby/, "its own cookie was set");
        if (place.getsTheSession) assert.doesNotMatch(seen, /picloud_session=/);
        assert.deepEqual(await session(), before);
        assert.equal(await whoIsSignedIn(), EMAIL);
    });

    test("what the control plane answers is not read", async () => {
        const url = api("/session");
        for (const read of [attack.readByFetch, attack.readByXhr]) {
            assert.match((await owners.evaluate(read, url)).text, new RegExp(EMAIL), "its own pages read it");
            const { refused, text } = await hostile.evaluate(read, url);
            assert.ok(refused, text);
        }
        for (const tag of ["img", "script", "link"]) {
            assert.deepEqual(await hostile.evaluate(attack.embed, { tag, url }), { refused: tag });
        }
    });

    test("nothing is done that the owner may do", async () => {
        const { id: friend, link } = await service.ask("POST", "/accounts", { email: `${Date.now()}@example.com` });
        const token = new URL(link.url).searchParams.get("token");
        const before = await now();
        const key = { name: "hostile", scopes: ["AppRead"] };
        // Without a body there is no content type that could be wrong.
        const pause = api("/apps/default/pause");

        // Even with the proof that only the owner's pages know.
        for (const [url, body, method] of [
            [api("/apps"), { slug: "hostile" }],
            [api("/api_keys"), key],
            [pause, {}],
            [api("/session"), undefined, "DELETE"],
            [api("/session"), { email: EMAIL, password: PASSWORD }],
        ]) {
            const answer = await hostile.evaluate(attack.sendJson, { method, url, body, csrf });
            assert.ok(answer.refused, answer.text);
        }

        const asText = "text/plain";
        const asForm = "application/x-www-form-urlencoded";
        // `{"scopes":["AppRead"],"name":"=hostile"}`, and then a line's end.
        const keyAsField = { '{"scopes":["AppRead"],"name":"': 'hostile"}' };
        const joining = { token, password: "chosen by a stranger" };
        const blind = [
            [attack.sendBlindly, { url: api("/apps"), body: '{"slug":"hostile"}' }],
            [attack.sendBlindly, { url: api("/api_keys"), body: JSON.stringify(key) }],
            [attack.sendBlindly, { url: pause }],
            [attack.sendBlindly, { url: api("/account/totp") }],
            [attack.sendBlindly, { url: `${data}/hostile/forward?to=${encodeURIComponent(pause)}` }],
            [attack.beacon, { url: api("/apps"), body: '{"slug":"hostile"}' }],
            [attack.beacon, { url: pause }],
            [attack.postForm, { url: api("/api_keys"), enctype: asText, fields: keyAsField }],
            [attack.postForm, { url: api("/apps"), enctype: asForm, fields: { slug: "hostile" } }],
            [attack.postForm, { url: pause, enctype: asForm, fields: {} }],
            [attack.postForm, { url: pause, enctype: asForm, fields: {}, hidden: true }],
            // A stranger who got hold of a link needs no browser of ours; but the form is answered to its own page alone.
            [attack.postForm, { url: `${admin}/join/${friend}`, enctype: asForm, fields: joining }],
            [attack.postForm, { url: `${admin}/join/${friend}`, enctype: asForm, fields: joining, hidden: true }],
        ];
        for (const [how, what] of blind) {
            const answered = hostile.waitForResponse((answer) => {
                return answer.request().method() === "POST" && answer.url().startsWith(admin);
            });
            await hostile.evaluate(how, what);
            const status = (await answered).status();
            assert.ok([401, 403, 415].includes(status), `${how.name} to ${what.url}: ${status}`);
        }
        assert.deepEqual(await changesSince(before), []);
        assert.equal(await whoIsSignedIn(), EMAIL);
    });

    test("its own pages do all of that", async () => {
        const before = await now();
        const slug = `mine-${before}`;
        const asks = [
            ["/apps", { slug }],
            ["/api_keys", { name: slug, scopes: ["AppRead"] }],
            [`/apps/${slug}/pause`, {}],
        ];
        for (const [path, body] of asks) {
            const answer = await owners.evaluate(attack.sendJson, { url: api(path), body, csrf });
            assert.ok(answer.status < 300, answer.text);
        }
        const changes = await changesSince(before);
        for (const kind of ["app.created", "api_key.minted", "app.paused"]) {
            assert.ok(changes.includes(`${kind} by ${service.owner}`), changes.join());
        }
    });

    // A page that told nobody where it leads from (`referrer-policy: no-referrer`) would have its forms sent as of origin `null`.
    test("who is invited sets a password at the link", async () => {
        const { link } = await service.ask("POST", "/accounts", { email: `${Date.now()}@example.com` });
        const before = await now();
        const page = await context.newPage();
        await page.goto(link.url.replace(/^http:\/\/[^/]*/, admin));
        await page.getByLabel("Password").fill(PASSWORD);
        await page.getByRole("button").click();
        // `Done`, or the form again.
        await page.getByRole("alert").or(page.locator("pre")).waitFor();
        assert.equal(await page.getByRole("heading").innerText(), "Done");
        const [change, ...more] = await changesSince(before);
        assert.match(change, /^account.password_set /);
        assert.deepEqual(more, []);
        await page.close();
    });

    test("the control plane shows in no frame", async () => {
        const frames = [];
        for (const tag of ["iframe", "embed"]) {
            for (const path of ["/join/x", "/setup/x", "/api/v1/admin/session"]) frames.push([tag, admin + path]);
            frames.push([tag, `${data}/hostile?framed`]);
        }
        for (const [tag, url] of frames) {
            const navigated = hostile.waitForEvent("framenavigated", (frame) => frame !== hostile.mainFrame());
            // What is refused may never be said to be loaded.
            await hostile.evaluate(({ tag, url }) => {
                const element = document.createElement(tag);
                element.src = url;
                document.body.append(element);
            }, { tag, url });
            const frame = await navigated;
            // The browser's own page that says so, or what may be framed.
            const wanted = url.startsWith(data) ? url : "chrome-error://chromewebdata/";
            assert.equal(frame.url(), wanted, `${tag} of ${url}`);
        }
    });

    test("a window that it opens tells nothing", async () => {
        for (const path of ["/join/x", "/api/v1/admin/session"]) {
            const opened = context.waitForEvent("page");
            const target = await hostile.evaluateHandle((url) => window.open(url), admin + path);
            const popup = await opened;
            await popup.waitForURL(admin + path);
            const shown = await popup.evaluate(() => document.body.innerText);
            assert.match(shown, place.getsTheSession ? /Set your password|ada@example/ : /Set your password|sign in/);
            const looked = await hostile.evaluate(attack.lookInto, target);
            for (const [what, { refused, read }] of Object.entries(looked)) {
                assert.equal(refused, "SecurityError", `${what}: ${read}`);
            }
            await popup.close();
        }
    });

    // The last one: afterwards nobody may be signed in.
    test("the session of a stranger does not make one of the owner", async () => {
        const stranger = { email: STRANGER, password: PASSWORD, bearer: true };
        const { token } = await service.ask("POST", "/session", stranger);
        await hostile.evaluate(attack.writeCookies, [
            `picloud_session=${token}; Path=/api`,
            `__Host-picloud_session=${token}; Path=/; Secure`,
        ]);
        assert.notEqual(await whoIsSignedIn(), STRANGER);
    });
});
