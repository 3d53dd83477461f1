// What a page can make a browser do. Each function runs in a page (`page.evaluate(attack, …)`), so it can use nothing of this
// module, and says what the page got to know. The very same run in the control plane's own pages, where they succeed.

/** Reads an address with whatever cookies go there. */
export async function readByFetch(url) {
    try {
        const answer = await fetch(url, { credentials: "include" });
        return { text: await answer.text() };
    } catch (error) {
        return { refused: error.name };
    }
}

/** The same in the old way. */
export function readByXhr(url) {
    return new Promise((told) => {
        const xhr = new XMLHttpRequest();
        xhr.open("GET", url);
        xhr.withCredentials = true;
        xhr.onload = () => told({ text: xhr.responseText });
        xhr.onerror = () => told({ refused: "error" });
        xhr.send();
    });
}

/** Loads an address as a part of the page: says whether the browser took it for one. */
export function embed({ tag, url }) {
    return new Promise((told) => {
        const element = document.createElement(tag);
        if (tag === "link") element.rel = "stylesheet";
        element.onload = () => told({ loaded: tag });
        element.onerror = () => told({ refused: tag });
        element[tag === "link" ? "href" : "src"] = url;
        document.body.append(element);
    });
}

/** Sends JSON with the proof that belongs to the session. */
export async function sendJson({ method = "POST", url, body, csrf }) {
    try {
        const headers = { "content-type": "application/json", "x-picloud-csrf": csrf };
        const answer = await fetch(url, { method, credentials: "include", headers, body: JSON.stringify(body) });
        return { status: answer.status, text: await answer.text() };
    } catch (error) {
        return { refused: error.name };
    }
}

/** Sends what a browser sends anywhere without asking first. */
export async function sendBlindly({ url, body }) {
    const headers = body === undefined ? {} : { "content-type": "text/plain" };
    const answer = await fetch(url, { method: "POST", mode: "no-cors", credentials: "include", headers, body });
    return { type: answer.type };
}

/** Leaves a message for the browser to deliver. */
export function beacon({ url, body }) {
    return { queued: navigator.sendBeacon(url, body) };
}

/** Sends a form from a frame. As text/plain its one field, cut at an `=`, is any text at all: JSON, for one. */
export function postForm({ url, enctype, fields, hidden }) {
    const escape = (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
    const inputs = Object.entries(fields).map(
        ([name, value]) => `<input name="${escape(name)}" value="${escape(value)}">`,
    );
    const form = `<form method="post" action="${escape(url)}" enctype="${enctype}">${inputs.join("")}</form>`;
    // Who may not be named as referrer is `null` as origin.
    const referrer = hidden ? '<meta name="referrer" content="no-referrer">' : "";
    const frame = document.createElement("iframe");
    frame.srcdoc = `${referrer}${form}<script>document.forms[0].submit()</script>`;
    document.body.append(frame);
}

/** What scripts of this page can read and do with cookies. */
export function writeCookies(cookies) {
    for (const cookie of cookies) document.cookie = cookie;
    return document.cookie;
}

/** Looks into a window that this page has opened. */
export function lookInto(target) {
    const looks = {
        text: () => target.document.body.innerText,
        address: () => target.location.href,
        storage: () => target.localStorage.length,
        cookie: () => target.document.cookie,
    };
    const look = (how) => {
        try {
            return { read: String(how()) };
        } catch (error) {
            return { refused: error.name };
        }
    };
    return Object.fromEntries(Object.entries(looks).map(([name, how]) => [name, look(how)]));
}
