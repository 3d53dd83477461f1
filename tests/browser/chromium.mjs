// The browser that the machine has, with nothing in it.

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** A name as of a machine at home. Unlike 127.0.0.1 and *.localhost, Chromium does not trust it over plain http: it sends no
 *  `sec-fetch-site` to it, and only `origin` says where a request is from. */
export const HOME = "picloud.test";

export async function launch() {
    const executablePath = process.env.CHROMIUM;
    if (!executablePath) throw new Error("CHROMIUM names no browser: run scripts/test-browser");
    // It keeps caches and crash reports in a home: not in ours.
    const home = mkdtempSync(join(process.env.PICLOUD_TEST_DIR ?? tmpdir(), "chromium-"));
    return chromium.launch({
        executablePath,
        env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
        // Its sandbox refuses root.
        chromiumSandbox: process.getuid() !== 0,
        args: [
            `--host-resolver-rules=MAP ${HOME} 127.0.0.1`,
            "--no-proxy-server",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    });
}
