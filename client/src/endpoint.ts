import { errorOf } from './problem.js'

/** What goes with one call. */
export interface CallOptions {
  /** Added to the URL; what is undefined is left out. */
  query?: Record<string, string | number | boolean | undefined>
  /** Added to the request. */
  headers?: Record<string, string>
  /** Makes a repeated call answer what the first did. */
  idempotencyKey?: string
  /** Ends the call early. */
  signal?: AbortSignal
}

/** A path of an app. Each method answers the body of a success: JSON read, text as it is; else it throws a `PicloudError`. */
export interface Endpoint {
  get<T = unknown>(options?: CallOptions): Promise<T>
  post<T = unknown>(body?: unknown, options?: CallOptions): Promise<T>
  put<T = unknown>(body?: unknown, options?: CallOptions): Promise<T>
  patch<T = unknown>(body?: unknown, options?: CallOptions): Promise<T>
  delete<T = unknown>(options?: CallOptions): Promise<T>
}

/** Asks, with credentials. */
export type Ask = (url: string, init: RequestInit) => Promise<Response>

export function createEndpoint(ask: Ask, url: URL): Endpoint {
  async function call<T>(method: string, body: unknown, options: CallOptions = {}): Promise<T> {
    const target = new URL(url)
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) target.searchParams.set(name, String(value))
    }
    const headers = new Headers(options.headers)
    if (options.idempotencyKey) headers.set('idempotency-key', options.idempotencyKey)
    const init: RequestInit = { method, headers }
    if (options.signal) init.signal = options.signal
    if (body !== undefined) init.body = encode(body, headers)
    return read<T>(await ask(target.href, init))
  }
  return {
    get: (options) => call('GET', undefined, options),
    post: (body, options) => call('POST', body, options),
    put: (body, options) => call('PUT', body, options),
    patch: (body, options) => call('PATCH', body, options),
    delete: (options) => call('DELETE', undefined, options),
  }
}

/** What fetch can send goes as it is; all else as JSON. */
function encode(body: unknown, headers: Headers): BodyInit {
  const isRaw =
    typeof body === 'string' ||
    body instanceof Blob ||
    body instanceof FormData ||
    body instanceof URLSearchParams ||
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body)
  if (isRaw) return body as BodyInit
  if (!headers.has('content-type')) headers.set('content-type', 'application/json')
  return JSON.stringify(body)
}

async function read<T>(response: Response): Promise<T> {
  if (!response.ok) throw await errorOf(response)
  if (response.status === 204) return undefined as T
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  return (await (isJson ? response.json() : response.text())) as T
}
