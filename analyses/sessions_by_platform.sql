-- Which devices do users listen on, and for how long?
select
    platform,
    sum(sessions) as sessions,
    round(try_divide(sum(session_seconds), sum(sessions) * 60), 1) as minutes_per_session,
    round(try_divide(sum(songs), sum(sessions)), 1) as songs_per_session
from {{ target.schema }}_published.weekly_sessions_by_platform_and_state
group by platform
order by sessions desc, platform
