import { PicloudError, errorOf } from './problem.js'
import { createParser, type Frame } from './sse.js'

/** A message that was published to a topic. */
export interface Message<T = unknown> {
  topic: string
  message: T
  /** When it was published, ISO 8601. */
  published_at: string
  /** Where to go on after it; messages that are not kept have none. */
  id?: string
}

/**
 * How a subscription is: on its way, telling what was missed, telling what happens, waiting to come back, or over.
 */
export type Status = 'connecting' | 'catching-up' | 'live' | 'waiting' | 'closed'

/** What a subscription can be told. */
export interface SubscribeOptions {
  /** Goes on after this place: `Subscription.cursor` of another time. Not said: with what happens from now on. */
  lastEventId?: string
  /** The token of this subscription, asked for before each connection. Not said: the client's. */
  getToken?: () => string | undefined | Promise<string | undefined>
  /** Called when the token is refused or its time is up, before one more try: the moment to get a new one. */
  onTokenExpired?: () => void | Promise<void>
  /** Called when what was missed cannot be told any more: what is shown should be read anew. */
  onReset?: () => void
  /** Called when something changes about the connection. */
  onStatus?: (status: Status) => void
  /** Called when a connection fails, or the handler throws; the subscription goes on if it can. */
  onError?: (error: unknown) => void
  /** Ends the subscription. */
  signal?: AbortSignal
}

/** Called with each message, once, in order. The next one waits for a promise. */
export type Handler<T = unknown> = (message: Message<T>) => void | Promise<void>

/** A subscription. With `for await` it answers messages one by one; leaving the loop ends it. */
export interface Subscription<T = unknown> extends AsyncIterable<Message<T>> {
  /** Where to go on after what was handled. */
  readonly cursor: string | undefined
  readonly status: Status
  /** Resolves when it is over; rejects when it can never be: unknown topics, or no good token. */
  readonly done: Promise<void>
  close(): void
}

/** What a subscription leans on. */
export interface Transport {
  url: URL
  fetch: typeof fetch
  getToken: () => string | undefined | Promise<string | undefined>
}

/** After so many milliseconds without a word, twice as long as the service is ever silent, a connection counts as dead. */
const SILENCE = 35_000
const LONGEST_WAIT = 30_000
const USUAL_WAIT = 1_000

/** A connection ended; what to do is up to the loop. */
class Ended extends Error {
  constructor(readonly reason: string) {
    super(`the stream ended: ${reason}`)
  }
}

export function subscribe<T>(transport: Transport, handler: Handler<T> | undefined, options: SubscribeOptions): Subscription<T> {
  const closing = new AbortController()
  const queue = handler ? undefined : createQueue<Message<T>>()
  const handle = handler ?? queue!.put
  let cursor = options.lastEventId
  let status: Status = 'connecting'
  let retry = USUAL_WAIT
  let failures = 0
  let isRefreshed = false

  function setStatus(next: Status): void {
    if (status === next || status === 'closed') return
    status = next
    options.onStatus?.(next)
  }

  async function connect(): Promise<void> {
    setStatus('connecting')
    const headers = new Headers({ accept: 'text/event-stream' })
    const token = await (options.getToken ?? transport.getToken)()
    if (token) headers.set('authorization', `Bearer ${token}`)
    if (cursor) headers.set('last-event-id', cursor)
    const connection = new AbortController()
    const abort = (): void => connection.abort()
    closing.signal.addEventListener('abort', abort)
    const watchdog = createWatchdog(abort)
    try {
      const response = await transport.fetch(transport.url.href, { headers, cache: 'no-store', signal: connection.signal })
      if (!response.ok) throw await errorOf(response)
      isRefreshed = false
      setStatus('catching-up')
      await read(response, watchdog)
    } finally {
      watchdog.stop()
      closing.signal.removeEventListener('abort', abort)
      connection.abort()
    }
  }

  async function read(response: Response, watchdog: Watchdog): Promise<void> {
    if (!response.body) throw new Ended('no body')
    const frames: Frame[] = []
    const parse = createParser((frame) => frames.push(frame), (milliseconds) => (retry = milliseconds))
    const decoder = new TextDecoder()
    const reader = response.body.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) throw new Ended('cut')
      parse(decoder.decode(value, { stream: true }))
      // While messages are handled nothing is read, and silence means nothing.
      watchdog.stop()
      for (const frame of frames.splice(0)) await take(frame)
      watchdog.start()
    }
  }

  async function take(frame: Frame): Promise<void> {
    if (closing.signal.aborted) throw new Ended('closed')
    failures = 0
    if (frame.event === 'message') {
      const message = JSON.parse(frame.data) as Message<T>
      // What is not kept repeats the id before it.
      if (frame.id && frame.id !== cursor) message.id = frame.id
      try {
        await handle(message)
      } catch (error) {
        options.onError?.(error)
      }
    }
    if (frame.id) cursor = frame.id
    if (frame.event === 'up-to-date') setStatus('live')
    else if (frame.event === 'reset') options.onReset?.()
    else if (frame.event === 'lagged') throw new Ended('lagged')
    else if (frame.event === 'closed') throw new Ended((JSON.parse(frame.data) as { reason: string }).reason)
  }

  /** Whether a connection was refused, or cut, for its token. */
  function isForToken(error: unknown): boolean {
    if (error instanceof PicloudError) return error.status === 401
    return error instanceof Ended && (error.reason === 'token_expired' || error.reason === 'unauthorized')
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      try {
        await connect()
      } catch (error) {
        if (closing.signal.aborted) break
        if (isForToken(error)) {
          // A token that is refused as soon as it was got will not get better.
          if (isRefreshed) throw error
          isRefreshed = true
          await options.onTokenExpired?.()
          continue
        }
        if (error instanceof PicloudError && error.status === 404) throw error
        options.onError?.(error)
        setStatus('waiting')
        await pause(waitFor(retry, failures++), closing.signal)
      }
    }
  }

  function close(): void {
    closing.abort()
    queue?.end()
  }

  if (options.signal?.aborted) close()
  options.signal?.addEventListener('abort', close)
  const done = run().finally(() => {
    setStatus('closed')
    options.signal?.removeEventListener('abort', close)
  })
  // Taken here too: an unhandled rejection would end a Node process.
  done.then(
    () => queue?.end(),
    (error: unknown) => (queue ? queue.end(error) : options.onError?.(error)),
  )

  return {
    get cursor() {
      return cursor
    },
    get status() {
      return status
    },
    done,
    close,
    [Symbol.asyncIterator]() {
      if (!queue) throw new TypeError('this subscription has a handler: leave it out to iterate over messages')
      return {
        next: () => queue.take(),
        return: () => {
          close()
          return Promise.resolve({ done: true, value: undefined })
        },
      }
    },
  }
}

/** From half of it to all of it: not everybody comes back at once. */
function waitFor(retry: number, failures: number): number {
  const longest = Math.min(Math.max(retry, USUAL_WAIT) * 2 ** failures, Math.max(LONGEST_WAIT, retry))
  return longest * (0.5 + Math.random() / 2)
}

/** Resolves after a while, at the end of the subscription, or as soon as there is hope: the network or the page is back. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const page = typeof document === 'undefined' ? undefined : document
    const network = typeof window === 'undefined' ? undefined : window
    const onVisible = (): void => {
      if (page?.visibilityState === 'visible') end()
    }
    const isOffline = typeof navigator !== 'undefined' && navigator.onLine === false
    // Without a network there is nothing to try; the word that it is back wakes us.
    const timer = network && isOffline ? undefined : setTimeout(end, milliseconds)
    function end(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      network?.removeEventListener('online', end)
      page?.removeEventListener('visibilitychange', onVisible)
      resolve()
    }
    signal.addEventListener('abort', end)
    network?.addEventListener('online', end)
    page?.addEventListener('visibilitychange', onVisible)
    if (signal.aborted) end()
  })
}

interface Watchdog {
  start(): void
  stop(): void
}

/** Ends a connection that has been silent for too long; a page that was asleep looks as soon as it wakes. */
function createWatchdog(abort: () => void): Watchdog {
  let timer: ReturnType<typeof setTimeout> | undefined
  let heard = Date.now()
  const page = typeof document === 'undefined' ? undefined : document
  const look = (): void => {
    if (timer !== undefined && Date.now() - heard > SILENCE) abort()
  }
  const watchdog = {
    start() {
      watchdog.stop()
      heard = Date.now()
      timer = setTimeout(abort, SILENCE)
      page?.addEventListener('visibilitychange', look)
    },
    stop() {
      clearTimeout(timer)
      timer = undefined
      page?.removeEventListener('visibilitychange', look)
    },
  }
  watchdog.start()
  return watchdog
}

interface Queue<T> {
  /** Resolves when it was taken: what is slow is not sent more. */
  put(item: T): Promise<void>
  take(): Promise<IteratorResult<T>>
  end(error?: unknown): void
}

function createQueue<T>(): Queue<T> {
  const waiting: { item: T; taken: () => void }[] = []
  const takers: { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void }[] = []
  let ended: { error?: unknown } | undefined
  return {
    put(item) {
      const taker = takers.shift()
      if (taker) {
        taker.resolve({ done: false, value: item })
        return Promise.resolve()
      }
      return new Promise((taken) => waiting.push({ item, taken }))
    },
    take() {
      const next = waiting.shift()
      if (next) {
        next.taken()
        return Promise.resolve({ done: false, value: next.item })
      }
      if (ended) return ended.error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(ended.error as Error)
      return new Promise((resolve, reject) => takers.push({ resolve, reject }))
    },
    end(error) {
      ended ??= error === undefined ? {} : { error }
      for (const { taken } of waiting.splice(0)) taken()
      for (const taker of takers.splice(0)) {
        if (ended.error === undefined) taker.resolve({ done: true, value: undefined })
        else taker.reject(ended.error)
      }
    },
  }
}
