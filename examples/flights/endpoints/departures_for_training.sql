/*
description: What the delay model learns from; every departed flight with what is known when it is scheduled.
max_rows: 1000000
timeout_seconds: 60
*/
SELECT
  carrier,
  origin,
  month,
  isodow(make_date(year, month, day)) AS weekday,
  hour,
  distance,
  dep_delay > 15 AS is_late
FROM flights
WHERE dep_delay IS NOT NULL
ORDER BY time_hour, carrier, flight
