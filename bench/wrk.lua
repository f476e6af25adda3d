-- Print wrk's summary as one line of JSON. After "--": the size of a body to post, and a number of clients to be.

local requests, turn = {}, 0

function init(args)
   local size, clients = tonumber(args[1]), tonumber(args[2])
   if size > 0 then
      wrk.method = "POST"
      wrk.body = string.rep("u", size)
   end
   if clients > 0 then
      local agent, cookie = wrk.headers["User-Agent"], wrk.headers["Cookie"]
      for number = 0, clients * 16 - 1 do
         local client = number % clients
         wrk.headers["User-Agent"] = agent .. " client/" .. client
         wrk.headers["Cookie"] = cookie .. "; client=" .. client
         requests[number] = wrk.format(nil, wrk.path .. "/" .. (number + math.floor(number / clients)) % 16)
      end
      -- Defined here: wrk calls this for each request, and without it makes the request only once.
      function request()
         turn = (turn + 1) % #requests
         return requests[turn]
      end
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
