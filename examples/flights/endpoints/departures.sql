/*
description: When flights left and how late, in spring and in December; `load.py` sends it to the dataset departures.
max_rows: 1000000
timeout_seconds: 60
*/
SELECT
  time_hour + to_minutes(minute + CAST(dep_delay AS BIGINT)) AS departed_at,
  carrier,
  flight,
  origin,
  dep_delay AS delay
FROM flights
WHERE dep_delay IS NOT NULL AND (month BETWEEN 3 AND 6 OR month = 12)
ORDER BY departed_at, carrier, flight
