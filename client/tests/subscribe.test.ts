import { afterEach, expect, it, vi } from 'vitest'
import { createClient, PicloudError, type Message, type Status } from '../src/index.js'
import { control, message, problem, Service, soon, stream, type Answer } from './service.js'

let service: Service

async function start(...answers: Answer[]): Promise<ReturnType<typeof createClient>> {
  service = await Service.start(...answers)
  return createClient({ url: service.url })
}

afterEach(async () => {
  vi.restoreAllMocks()
  await service.stop()
})

/** Values that were told, and a promise of so many. */
function collect(): { handler: (message: Message) => void; values: unknown[]; of: (many: number) => Promise<void> } {
  const values: unknown[] = []
  return {
    values,
    handler: ({ message }) => void values.push(message),
    of: (many) => soon(() => expect(values.length).toBeGreaterThanOrEqual(many)),
  }
}

it('tells messages once, in order, through cuts', async () => {
  const client = await start(
    stream([control('up-to-date', 'c0'), message('c1', 1), message('c2', 2)], { cut: true }),
    stream([message('c3', 3)], { cut: true }),
    stream([message('c4', 4), control('up-to-date', 'c4')]),
  )
  const told = collect()
  const statuses: Status[] = []
  const subscription = client.subscribe(['news', 'room.*'], told.handler, { onStatus: (status) => statuses.push(status) })
  await told.of(4)
  await soon(() => expect(subscription.status).toBe('live'))
  expect(told.values).toEqual([1, 2, 3, 4])
  expect(service.asked.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, 'c2', 'c3'])
  expect(service.asked[0]?.url).toBe('/realtime/topics?topics=news%2Croom.*')
  expect(subscription.cursor).toBe('c4')
  expect(statuses.slice(0, 4)).toEqual(['catching-up', 'live', 'waiting', 'connecting'])
  subscription.close()
  await subscription.done
  expect(subscription.status).toBe('closed')
})

it('comes back with the cursor when it is told that it was too slow, or that the service goes', async () => {
  const client = await start(
    stream([message('c1', 1), control('lagged', 'c1', 'slow')]),
    stream([control('closed', 'c9', 'shutting_down')]),
    stream([message('c10', 2)]),
  )
  const told = collect()
  const subscription = client.subscribe('news', told.handler)
  await told.of(2)
  expect(service.asked.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, 'c1', 'c9'])
  subscription.close()
})

it('begins anew when it is told to', async () => {
  const client = await start(stream([control('reset', 'c5', 'gone'), message('c6', 1)], { cut: true }), stream([message('c7', 2)]))
  const told = collect()
  const onReset = vi.fn()
  const subscription = client.subscribe('news', told.handler, { lastEventId: 'old', onReset })
  await told.of(2)
  expect(onReset).toHaveBeenCalledOnce()
  expect(service.asked.map(({ headers }) => headers['last-event-id'])).toEqual(['old', 'c6'])
  subscription.close()
})

it('does not take what is not kept for a place to go on', async () => {
  const client = await start(stream([message('c1', 1), message('', 'typing')], { cut: true }), stream([message('c2', 2)]))
  const ids: (string | undefined)[] = []
  const subscription = client.subscribe('news', ({ id }) => void ids.push(id))
  await soon(() => expect(ids).toEqual(['c1', undefined, 'c2']))
  expect(service.asked[1]?.headers['last-event-id']).toBe('c1')
  subscription.close()
})

it('gets a new token once when one is refused', async () => {
  service = await Service.start(problem(401, 'unauthorized', 'no'), stream([message('c1', 1), control('closed', 'c1', 'token_expired')]), stream([message('c2', 2)]))
  let token = 'old'
  let refreshed = 0
  const client = createClient({ url: service.url, getToken: () => token })
  const told = collect()
  const subscription = client.subscribe('room', told.handler, {
    onTokenExpired: () => {
      token = `new${++refreshed}`
    },
  })
  await told.of(2)
  expect(service.asked.map(({ headers }) => headers.authorization)).toEqual(['Bearer old', 'Bearer new1', 'Bearer new2'])
  subscription.close()
})

it('ends when no token helps, or there is nothing of that name', async () => {
  for (const [status, kind, asked] of [[401, 'unauthorized', 2], [404, 'not-found', 1]] as const) {
    const client = await start(problem(status, kind, 'because'))
    const onError = vi.fn()
    const subscription = client.subscribe('room', () => undefined, { onError })
    const error = await subscription.done.catch((error: unknown) => error)
    expect(error).toBeInstanceOf(PicloudError)
    expect((error as PicloudError).is(kind)).toBe(true)
    expect((error as PicloudError).message).toBe('because')
    expect(onError).toHaveBeenCalledWith(error)
    expect(service.asked.length).toBe(asked)
    expect(subscription.status).toBe('closed')
    await service.stop()
  }
  service = await Service.start(stream([]))
})

it('tries again when the service is away', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(0)
  const client = await start(problem(503, 'unavailable', 'soon'), stream([message('c1', 1)]))
  const told = collect()
  const onError = vi.fn()
  const subscription = client.subscribe('news', told.handler, { onError })
  await told.of(1)
  expect(onError).toHaveBeenCalledOnce()
  subscription.close()
})

it('waits for a handler before it tells the next', async () => {
  const client = await start(stream([message('c1', 1), message('c2', 2)]))
  const told: unknown[] = []
  let release = (): void => undefined
  const subscription = client.subscribe('news', ({ message }) => {
    told.push(message)
    return new Promise<void>((resolve) => (release = resolve))
  })
  await soon(() => expect(told).toEqual([1]))
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(told).toEqual([1])
  expect(subscription.cursor).toBeUndefined()
  release()
  await soon(() => expect(told).toEqual([1, 2]))
  expect(subscription.cursor).toBe('c1')
  subscription.close()
})

it('goes on when a handler throws, and says so', async () => {
  const client = await start(stream([message('c1', 1), message('c2', 2)]))
  const onError = vi.fn()
  const told: unknown[] = []
  const subscription = client.subscribe(
    'news',
    ({ message }) => {
      told.push(message)
      if (message === 1) throw new Error('oops')
    },
    { onError },
  )
  await soon(() => expect(told).toEqual([1, 2]))
  expect(onError).toHaveBeenCalledWith(new Error('oops'))
  subscription.close()
})

it('is iterated over, and ends with the loop', async () => {
  const client = await start(stream([message('c1', 1), message('c2', 2), message('c3', 3)]))
  const subscription = client.subscribe<number>('news')
  const values: number[] = []
  for await (const { message } of subscription) {
    values.push(message)
    if (values.length === 2) break
  }
  expect(values).toEqual([1, 2])
  await subscription.done
  expect(subscription.status).toBe('closed')
})

it('throws out of a loop what it ends with', async () => {
  const client = await start(problem(404, 'not-found', 'nothing'))
  await expect(async () => {
    for await (const _ of client.subscribe('news')) throw new Error('there is none')
  }).rejects.toThrow('nothing')
})

it('ends with a signal', async () => {
  const client = await start(stream([message('c1', 1)]))
  const ending = new AbortController()
  const told = collect()
  const subscription = client.subscribe('news', told.handler, { signal: ending.signal })
  await told.of(1)
  ending.abort()
  await subscription.done
  expect(subscription.status).toBe('closed')
})

it('takes a silent connection for dead', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  try {
    const client = await start(stream([message('c1', 1)]), stream([message('c2', 2)]))
    const values: unknown[] = []
    const subscription = client.subscribe('news', ({ message }) => void values.push(message))
    const until = async (many: number): Promise<void> => {
      while (values.length < many) await new Promise((resolve) => setImmediate(resolve))
    }
    await until(1)
    await vi.advanceTimersByTimeAsync(30_000)
    expect(service.asked.length).toBe(1)
    await vi.advanceTimersByTimeAsync(10_000)
    await until(2)
    expect(service.asked[1]?.headers['last-event-id']).toBe('c1')
    subscription.close()
  } finally {
    vi.useRealTimers()
  }
})
