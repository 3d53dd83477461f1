/** Topics in React components. */
import { useEffect, useRef, useState } from 'react'
import type { Client, Handler, Message, Status, SubscribeOptions } from './index.js'

/** Listens for as long as the component is there. The handler and the options may change without a new connection. */
export function useSubscription<T = unknown>(
  client: Client,
  topics: string | readonly string[],
  handler: Handler<T>,
  options: SubscribeOptions = {},
): Status {
  const [status, setStatus] = useState<Status>('connecting')
  const latest = useRef({ handler, options })
  useEffect(() => {
    latest.current = { handler, options }
  })
  const asked = typeof topics === 'string' ? topics : topics.join(',')
  useEffect(() => {
    setStatus('connecting')
    const subscription = client.subscribe<T>(asked, (message) => latest.current.handler(message), {
      ...latest.current.options,
      onTokenExpired: () => latest.current.options.onTokenExpired?.(),
      onReset: () => latest.current.options.onReset?.(),
      onError: (error) => latest.current.options.onError?.(error),
      onStatus: (next) => {
        setStatus(next)
        latest.current.options.onStatus?.(next)
      },
    })
    return () => subscription.close()
  }, [client, asked])
  return status
}

/** The last messages of topics, newest at the end. */
export function useMessages<T = unknown>(
  client: Client,
  topics: string | readonly string[],
  options: SubscribeOptions & { limit?: number } = {},
): { messages: readonly Message<T>[]; status: Status } {
  const [messages, setMessages] = useState<readonly Message<T>[]>([])
  const limit = options.limit ?? 100
  const status = useSubscription<T>(client, topics, (message) => setMessages((before) => [...before, message].slice(-limit)), {
    ...options,
    onReset: () => {
      setMessages([])
      options.onReset?.()
    },
  })
  return { messages, status }
}
