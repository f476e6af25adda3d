-- Let wrk post a body of the size given after "--", and print its summary as one line of JSON.

function init(args)
   local size = tonumber(args[1])
   if size > 0 then
      wrk.method = "POST"
      wrk.body = string.rep("u", size)
   end
end

function done(summary, latency)
   local errors = summary.errors
   print(string.format(
      'SUMMARY {"requests": %d, "bytes": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}',
      summary.requests, summary.bytes, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
