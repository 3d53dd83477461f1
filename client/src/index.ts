/**
 * Calls the endpoints of a PiCloud app, and listens to its topics.
 *
 * @example
 * const cloud = createClient({ url: 'https://shop.example.com' })
 * const order = await cloud.endpoint('/orders').post({ sku: 'mug' })
 * cloud.subscribe('orders.*', ({ topic, message }) => console.log(topic, message))
 *
 * @packageDocumentation
 */
import { createEndpoint, type Endpoint } from './endpoint.js'
import { subscribe, type Handler, type SubscribeOptions, type Subscription, type Transport } from './subscribe.js'

export type { CallOptions, Endpoint } from './endpoint.js'
export { PicloudError, type ProblemDetails } from './problem.js'
export type { Handler, Message, Status, SubscribeOptions, Subscription } from './subscribe.js'

/** How to reach an app. */
export interface ClientOptions {
  /** Where the service is reached. In a page that the app serves: `location.origin`. */
  url: string | URL
  /** The app, by slug or id, where the host does not say which it is. Topics only: endpoints go by the host. */
  app?: string
  /** Credentials for `Authorization: Bearer`, asked for before each call and connection. */
  getToken?: () => string | undefined | Promise<string | undefined>
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch
}

/** An app, as its callers see it. */
export interface Client {
  /** A path of the app. */
  endpoint(path: string): Endpoint
  /**
   * Listens to topics: a name, `prefix.*` or `*`, or several. What is missed while the connection is down is told when it is
   * back, each message once. Without a handler, `for await` takes messages.
   */
  subscribe<T = unknown>(topics: string | readonly string[], handler?: Handler<T>, options?: SubscribeOptions): Subscription<T>
}

/** A client of one app. */
export function createClient(options: ClientOptions): Client {
  const base = new URL(options.url)
  const ask = options.fetch ?? ((...request: Parameters<typeof fetch>) => fetch(...request))
  const getToken = options.getToken ?? (() => undefined)

  async function call(url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers)
    const token = headers.has('authorization') ? undefined : await getToken()
    if (token) headers.set('authorization', `Bearer ${token}`)
    return ask(url, { ...init, headers })
  }

  return {
    endpoint: (path) => createEndpoint(call, new URL(path, base)),
    subscribe(topics, handler, subscribeOptions = {}) {
      const url = new URL('/realtime/topics', base)
      url.searchParams.set('topics', typeof topics === 'string' ? topics : topics.join(','))
      if (options.app) url.searchParams.set('app', options.app)
      const transport: Transport = { url, fetch: ask, getToken }
      return subscribe(transport, handler, subscribeOptions)
    },
  }
}
