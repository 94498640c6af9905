// What the Node.js driver programs share: connection parameters and one printed line a check.
'use strict'
const { isDeepStrictEqual, inspect } = require('node:util')

exports.settings = {
  host: process.env.PGHOST || '127.0.0.1',
  port: Number(process.env.PGPORT || 5432),
  user: process.env.PGUSER || 'postgres',
  database: process.env.PGDATABASE || 'postgres',
}

exports.equal = (name, found, expected) => {
  if (!isDeepStrictEqual(found, expected)) {
    console.log(`not ok - ${name}: expected ${inspect(expected)}, found ${inspect(found)}`)
    process.exit(1)
  }
  console.log(`ok - ${name}`)
}

// Runs `work`, which must fail, and gives its error.
exports.failure = async (name, work) => {
  let error = null
  try {
    await work()
  } catch (caught) {
    error = caught
  }
  if (error === null) exports.equal(name, 'no error', 'an error')
  return error
}
