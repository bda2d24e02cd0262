/*
description: Flights, delays and cancellations in a period, and in the one of the same length before it.
parameters:
  first: {type: date, required: true, description: The first local day}
  last: {type: date, required: true, description: The last local day}
  origin: {type: string, values: [EWR, JFK, LGA], description: Only flights from this airport}
examples:
  - {first: 2013-07-01, last: 2013-07-31}
*/
WITH considered AS (
  SELECT
    make_date(year, month, day) >= $first AS is_now,
    dep_delay
  FROM flights
  WHERE make_date(year, month, day) BETWEEN $first - (date_diff('day', $first, $last) + 1)::INTEGER AND $last
    AND ($origin IS NULL OR origin = $origin)
)
SELECT
  count(*) FILTER (is_now) AS flights,
  count(*) FILTER (NOT is_now) AS flights_before,
  round(avg(CASE WHEN dep_delay <= 15 THEN 1.0 ELSE 0.0 END) FILTER (is_now AND dep_delay IS NOT NULL), 4) AS on_time,
  round(avg(CASE WHEN dep_delay <= 15 THEN 1.0 ELSE 0.0 END) FILTER (NOT is_now AND dep_delay IS NOT NULL), 4) AS on_time_before,
  round(avg(dep_delay) FILTER (is_now), 1) AS mean_delay,
  round(avg(dep_delay) FILTER (NOT is_now), 1) AS mean_delay_before,
  count(*) FILTER (is_now AND dep_delay IS NULL) AS cancelled,
  count(*) FILTER (NOT is_now AND dep_delay IS NULL) AS cancelled_before
FROM considered
