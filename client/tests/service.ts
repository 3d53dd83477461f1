import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { vi } from 'vitest'

/** Waits for what must come: much longer than it takes, for a machine may have other things to do. */
export const soon = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 10_000 })

/** What one connection is answered. */
export type Answer = (response: ServerResponse, request: IncomingMessage) => void

/** A service that answers each connection in turn, and remembers what it was asked. The last answer is for all that follow. */
export class Service {
  readonly asked: { url: string; method: string; headers: IncomingMessage['headers']; body: string }[] = []
  private readonly server: Server

  private constructor(private readonly answers: Answer[]) {
    this.server = createServer((request, response) => {
      let body = ''
      request.on('data', (piece: Buffer) => (body += piece.toString()))
      request.on('end', () => {
        this.asked.push({ url: request.url ?? '', method: request.method ?? '', headers: request.headers, body })
        const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0]
        answer?.(response, request)
      })
    })
  }

  static async start(...answers: Answer[]): Promise<Service> {
    const service = new Service(answers)
    await new Promise<void>((resolve) => service.server.listen(0, '127.0.0.1', resolve))
    return service
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }
}

/** A stream with these frames; it stays open unless it is cut. */
export function stream(frames: string[], options: { cut?: boolean } = {}): Answer {
  return (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    // Soon back: a test should not wait.
    response.write('retry: 1\n\n')
    for (const frame of frames) response.write(frame)
    // Once it is on its way.
    if (options.cut) setTimeout(() => response.destroy(), 20)
  }
}

export function message(id: string, value: unknown, topic = 'news'): string {
  const data = JSON.stringify({ topic, message: value, published_at: '2026-01-01T00:00:00.000000Z' })
  return `${id ? `id: ${id}\n` : ''}event: message\ndata: ${data}\n\n`
}

export function control(event: string, id: string, reason?: string): string {
  return `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify({ reason, cursor: id })}\n\n`
}

export function problem(status: number, kind: string, detail: string): Answer {
  return (response) => {
    response.writeHead(status, { 'content-type': 'application/problem+json' })
    response.end(JSON.stringify({ type: `/problems/${kind}`, title: kind, status, detail }))
  }
}
