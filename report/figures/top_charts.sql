-- Which artists and songs were played most in the last complete week?
with

last_week as (

    select max(week_start_date) as week_start_date
    from {{ target.schema }}_published.weekly_kpis
    where is_complete

)

select
    charts.week_start_date,
    charts.kind,
    charts.chart_rank,
    charts.artist,
    charts.song,
    charts.plays,
    charts.users
from {{ target.schema }}_published.weekly_charts as charts
inner join last_week on charts.week_start_date = last_week.week_start_date
where charts.chart_rank <= 10
order by charts.kind, charts.chart_rank
