-- What do the data cover?
with

users as (

    select
        count(*) as users,
        count_if(is_churned) as churned_users,
        coalesce(sum(events), 0) as events
    from {{ target.schema }}_published.dim_users

)

select
    calendar.first_event_date,
    calendar.last_event_date,
    calendar.last_complete_date,
    calendar.current_snapshot_date,
    users.users,
    users.churned_users,
    users.events
from {{ target.schema }}_published.churn_calendar as calendar
cross join users
