import { afterEach, beforeEach, expect, it } from 'vitest'
import { createClient, PicloudError } from '../src/index.js'
import { problem, Service } from './service.js'

let service: Service

beforeEach(async () => {
  service = await Service.start((response, request) => {
    if (request.url === '/empty') {
      response.writeHead(204).end()
    } else if (request.url === '/text') {
      response.writeHead(200, { 'content-type': 'text/plain' }).end('hello')
    } else {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"n":1}')
    }
  })
})

afterEach(() => service.stop())

it('calls with what it is given and reads what it is answered', async () => {
  const client = createClient({ url: service.url, getToken: () => Promise.resolve('secret') })
  const orders = client.endpoint('/orders')
  expect(await orders.get({ query: { page: 2, all: undefined } })).toEqual({ n: 1 })
  expect(await orders.post<{ n: number }>({ sku: 'mug' }, { idempotencyKey: 'k', headers: { 'x-a': 'b' } })).toEqual({ n: 1 })
  await orders.put('plain')
  await orders.patch(new URLSearchParams({ a: '1' }))
  await orders.delete()
  expect(await client.endpoint('/text').get()).toBe('hello')
  expect(await client.endpoint('/empty').get()).toBeUndefined()
  const [get, post, put, patch, remove] = service.asked
  expect(get).toMatchObject({ method: 'GET', url: '/orders?page=2', headers: { authorization: 'Bearer secret' } })
  expect(post).toMatchObject({
    method: 'POST',
    body: '{"sku":"mug"}',
    headers: { 'content-type': 'application/json', 'idempotency-key': 'k', 'x-a': 'b' },
  })
  expect(put).toMatchObject({ method: 'PUT', body: 'plain' })
  expect(patch).toMatchObject({ method: 'PATCH', body: 'a=1' })
  expect(remove).toMatchObject({ method: 'DELETE', body: '' })
})

it('throws what a service says of a failure', async () => {
  await service.stop()
  service = await Service.start(
    problem(422, 'invalid-input', 'total is -1'),
    (response) => response.writeHead(409, { 'content-type': 'application/json' }).end('{"error":"sold out"}'),
    (response) => response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>'),
  )
  const orders = createClient({ url: service.url }).endpoint('/orders')
  const failed = async (): Promise<PicloudError> => (await orders.post({}).catch((error: unknown) => error)) as PicloudError
  const refused = await failed()
  expect([refused.status, refused.message, refused.is('invalid-input')]).toEqual([422, 'total is -1', true])
  const own = await failed()
  expect([own.status, own.problem['body']]).toEqual([409, { error: 'sold out' }])
  const proxy = await failed()
  expect([proxy.status, proxy.problem.title, proxy.message]).toEqual([502, 'Bad Gateway', '<h1>Bad gateway</h1>'])
})

it('ends early with a signal', async () => {
  await service.stop()
  service = await Service.start(() => undefined)
  const ending = new AbortController()
  const call = createClient({ url: service.url }).endpoint('/slow').get({ signal: ending.signal })
  ending.abort()
  await expect(call).rejects.toThrow()
})
