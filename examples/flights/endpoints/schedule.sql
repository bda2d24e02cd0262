/*
description: Flights with what is known when they are scheduled, and what became of them; what the models learn from.
parameters:
  first: {type: date, required: true, description: The first local day}
  last: {type: date, required: true, description: The last local day}
max_rows: 1000000
timeout_seconds: 60
examples:
  - {first: 2013-12-24, last: 2013-12-24}
*/
SELECT
  time_hour,
  carrier,
  flight,
  origin,
  year,
  month,
  day,
  hour,
  isodow(make_date(year, month, day)) AS weekday,
  distance,
  dep_delay > 15 AS is_late
FROM flights
WHERE make_date(year, month, day) BETWEEN $first AND $last
ORDER BY time_hour, carrier, flight
