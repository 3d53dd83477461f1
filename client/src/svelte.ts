/** Topics as Svelte stores. */
import type { Client, Message, Status, SubscribeOptions } from './index.js'

/** What a store of messages holds. */
export interface Messages<T> {
  /** The last, newest at the end. */
  messages: readonly Message<T>[]
  status: Status
}

/** A store that listens for as long as somebody subscribes to it. */
export interface MessageStore<T> {
  subscribe(run: (value: Messages<T>) => void): () => void
}

/** The last messages of topics. */
export function messages<T = unknown>(
  client: Client,
  topics: string | readonly string[],
  options: SubscribeOptions & { limit?: number } = {},
): MessageStore<T> {
  const limit = options.limit ?? 100
  const runs = new Set<(value: Messages<T>) => void>()
  let value: Messages<T> = { messages: [], status: 'connecting' }
  let close: (() => void) | undefined

  function set(next: Partial<Messages<T>>): void {
    value = { ...value, ...next }
    for (const run of runs) run(value)
  }

  function open(lastEventId: string | undefined): () => string | undefined {
    const subscription = client.subscribe<T>(
      topics,
      (message) => set({ messages: [...value.messages, message].slice(-limit) }),
      {
        ...options,
        ...(lastEventId ? { lastEventId } : {}),
        onReset: () => {
          set({ messages: [] })
          options.onReset?.()
        },
        onStatus: (status) => {
          set({ status })
          options.onStatus?.(status)
        },
      },
    )
    return () => {
      subscription.close()
      return subscription.cursor
    }
  }

  // Who comes back to the store goes on where the last one left.
  let cursor = options.lastEventId
  return {
    subscribe(run) {
      runs.add(run)
      run(value)
      if (!close) {
        const end = open(cursor)
        close = () => (cursor = end())
      }
      return () => {
        runs.delete(run)
        if (runs.size > 0) return
        close?.()
        close = undefined
      }
    },
  }
}
