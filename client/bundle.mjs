// The client as one module for pages. The service has it at /realtime/client.js.
//
//   node bundle.mjs           writes it
//   node bundle.mjs --check   fails when what is there is another, or when it is too large
import { readFileSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const { name, version, license } = JSON.parse(readFileSync('package.json', 'utf8'))
const path = '../ingress/src/realtime/client.js'
const most = 6 * 1024

const { outputFiles } = await build({
  entryPoints: ['src/index.ts'],
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  banner: { js: `/*! ${name} ${version}, ${license} */` },
  write: false,
})
const { contents } = outputFiles[0]
if (process.argv.includes('--check')) {
  const bytes = gzipSync(contents, { level: 9 }).length
  console.log(`${name}: ${bytes} bytes compressed, at most ${most}`)
  if (bytes > most) process.exitCode = 1
  if (!readFileSync(path).equals(contents)) {
    console.error(`${path} is not what the source makes: npm run bundle`)
    process.exitCode = 1
  }
} else {
  writeFileSync(path, contents)
}
