/** What a service answers when it cannot do what was asked (RFC 9457). */
export interface ProblemDetails {
  /** What kind of problem it is: `/problems/…`. */
  type: string
  /** The kind, for people. */
  title: string
  /** The HTTP status. */
  status: number
  /** What was wrong this time, and what to do. */
  detail?: string
  /** Names the request in the service's log. */
  request_id?: string
  /** The run that failed. */
  invocation_id?: string
  /** What in the request it is about. */
  field?: string
  [member: string]: unknown
}

/** Thrown when a service answers with anything but success. */
export class PicloudError extends Error {
  /** The HTTP status. */
  readonly status: number
  /** What the service says of it. */
  readonly problem: ProblemDetails

  constructor(problem: ProblemDetails) {
    super(problem.detail ?? problem.title)
    this.name = 'PicloudError'
    this.status = problem.status
    this.problem = problem
  }

  /** Whether it is of a kind: `error.is('not-found')`. */
  is(kind: string): boolean {
    return this.problem.type === `/problems/${kind}`
  }
}

/** The error that an answer is. What is no problem document is told as one. */
export async function errorOf(response: Response): Promise<PicloudError> {
  const text = await response.text().catch(() => '')
  if (response.headers.get('content-type')?.includes('json')) {
    try {
      const body: unknown = JSON.parse(text)
      if (typeof body === 'object' && body !== null && 'title' in body) {
        return new PicloudError({ ...(body as ProblemDetails), status: response.status })
      }
      // A script answers failures in its own words.
      return new PicloudError({ ...plain(response, text), body })
    } catch {
      // Not what it says it is.
    }
  }
  return new PicloudError(plain(response, text))
}

function plain(response: Response, text: string): ProblemDetails {
  const title = response.statusText || `HTTP ${response.status}`
  const detail = text.trim().slice(0, 500)
  return { type: 'about:blank', title, status: response.status, ...(detail ? { detail } : {}) }
}
