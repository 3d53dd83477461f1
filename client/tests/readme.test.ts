import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

/** What a module exports, types too. */
function exportsOf(source: string): string[] {
  const declared = source.matchAll(/^export (?:async )?(?:function|class|interface|type|const) (\w+)/gm)
  const named = source.matchAll(/^export (?:type )?\{([^}]+)\} from/gm)
  return [
    ...[...declared].map(([, name]) => name!),
    ...[...named].flatMap(([, names]) => names!.split(',').map((name) => name.replace('type ', '').trim())),
  ]
}

it('tells of everything there is', () => {
  const readme = readFileSync('README.md', 'utf8')
  const all = ['index', 'react', 'svelte'].flatMap((module) => exportsOf(readFileSync(`src/${module}.ts`, 'utf8')))
  expect(all).toContain('createClient')
  expect(all).toContain('useMessages')
  // What only types a parameter, or is written out where it is used.
  const written = ['Client', 'ClientOptions', 'Endpoint', 'Handler', 'Messages', 'MessageStore']
  expect(all.filter((name) => !written.includes(name) && !readme.includes(name))).toEqual([])
})
