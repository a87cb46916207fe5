-- How many of the users who look at the paid plan buy it in the same week?
select
    week_start_date,
    visiting_users,
    converted_users,
    round(converted_share, 3) as converted_share
from {{ target.schema }}_published.weekly_plan_change_funnel
where direction = 'upgrade'
order by week_start_date
