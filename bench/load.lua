-- usage: wrk -s load.lua URL -- body-file-or-empty [header...]
-- Statuses above 399 count as errors (watching each response from Lua would slow the load down).
-- A body file may hold several bodies, separated by a line with a single form feed; they are sent in turn.
local bodies, position = {}, 0

function init(args)
  if args[1] ~= nil and args[1] ~= "" then
    local file = assert(io.open(args[1], "rb"))
    local text = file:read("*a")
    file:close()
    local from = 1
    while true do
      local at = text:find("\n\f\n", from, true)
      if not at then break end
      bodies[#bodies + 1] = text:sub(from, at - 1)
      from = at + 3
    end
    bodies[#bodies + 1] = text:sub(from)
    wrk.method = "POST"
  end
  for index = 2, #args do
    local name, value = args[index]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
end

-- A "@" in the address stands for a number that differs each time, below HIGHEST of the environment.
local highest = tonumber(os.getenv("HIGHEST") or "0")

function request()
  if highest > 0 then
    return wrk.format(nil, (wrk.path:gsub("@", function() return math.random(0, highest - 1) end)))
  end
  if #bodies == 0 then return wrk.format() end
  position = position % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[position])
end

function done(summary, latency)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  bad = bad + summary.errors.status
  io.write(string.format(
    'JSON {"requests":%d,"duration_us":%d,"errors":%d,"p50_us":%.1f,"p95_us":%.1f,"p99_us":%.1f}\n',
    summary.requests, summary.duration, bad, latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
