-- What do the data cover?
with

users as (

    select
        count(*) as users,
        count_if(is_churned) as churned_users,
        coalesce(sum(events), 0) as events,
        coalesce(sum(songs), 0) as songs,
        coalesce(sum(listening_milliseconds), 0) as listening_milliseconds
    from {{ target.schema }}_published.dim_users

)

select
    calendar.first_event_date,
    calendar.last_event_date,
    calendar.last_complete_date,
    calendar.current_snapshot_date,
    users.users,
    users.churned_users,
    users.events,
    users.songs,
    users.listening_milliseconds
from {{ target.schema }}_published.churn_calendar as calendar
cross join users
