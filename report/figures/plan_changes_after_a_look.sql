-- How many who look at the other plan change to it in the same week?
-- Complete weeks only. A user counts once a week, so these are pairs of a user and a week.
select
    funnel.direction,
    count(*) as weeks,
    sum(funnel.visiting_users) as visiting_user_weeks,
    sum(funnel.converted_users) as converted_user_weeks,
    try_divide(sum(funnel.converted_users), sum(funnel.visiting_users)) as converted_share
from {{ target.schema }}_published.weekly_plan_change_funnel as funnel
inner join {{ target.schema }}_published.weekly_kpis as weeks
    on funnel.week_start_date = weeks.week_start_date
where weeks.is_complete
group by funnel.direction
order by funnel.direction desc
