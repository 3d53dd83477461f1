import { afterEach, expect, it, vi } from 'vitest'
import { createClient } from '../src/index.js'
import { messages } from '../src/svelte.js'
import { control, message, Service, soon, stream, type Answer } from './service.js'

let service: Service

async function start(...answers: Answer[]): Promise<ReturnType<typeof createClient>> {
  service = await Service.start(...answers)
  return createClient({ url: service.url })
}

afterEach(() => service.stop())

it('listens while somebody subscribes, once for all of them, and goes on where it stopped', async () => {
  const client = await start(
    stream([control('up-to-date', 'c0'), message('c1', 1), message('c2', 2)]),
    stream([message('c3', 3), control('up-to-date', 'c3')]),
  )
  const store = messages<number>(client, 'news', { limit: 2 })
  const values = (): number[] => seen.at(-1)!.messages.map(({ message }) => message)
  const seen: { messages: readonly { message: number }[]; status: string }[] = []
  const [leave, leaveToo] = [store.subscribe((value) => seen.push(value)), store.subscribe(() => {})]
  expect(seen[0]).toEqual({ messages: [], status: 'connecting' })
  await soon(() => expect(values()).toEqual([1, 2]))
  await soon(() => expect(seen.at(-1)!.status).toBe('live'))
  leave()
  leaveToo()

  store.subscribe((value) => seen.push(value))
  await soon(() => expect(values()).toEqual([2, 3]))
  expect(service.asked.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, 'c2'])
})

it('forgets what it holds when what was missed is gone', async () => {
  const reset = vi.fn()
  const client = await start(
    stream([message('c1', 1)], { cut: true }),
    stream([control('reset', 'c8', 'gone'), message('c9', 9)]),
  )
  const seen: unknown[][] = []
  const leave = messages(client, 'news', { onReset: reset }).subscribe(({ messages }) => {
    seen.push(messages.map(({ message }) => message))
  })
  await soon(() => expect(seen.at(-1)).toEqual([9]))
  expect(seen).toContainEqual([1])
  expect(reset).toHaveBeenCalledOnce()
  leave()
})
