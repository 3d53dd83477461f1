// How large the client is as a page loads it: bundled, minified, compressed. Fails above its bound.
import { build } from 'esbuild'
import { gzipSync } from 'node:zlib'

const most = 6 * 1024
const { outputFiles } = await build({ entryPoints: ['src/index.ts'], bundle: true, minify: true, format: 'esm', write: false, target: 'es2022' })
const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length
console.log(`@picloud/client: ${bytes} bytes compressed, at most ${most}`)
process.exitCode = bytes <= most ? 0 : 1
